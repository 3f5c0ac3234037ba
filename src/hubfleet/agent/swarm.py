"""What a machine knows of the swarm that it is in, and which hubs it is in it for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hubfleet.agent import file
from hubfleet.agent.docker import Engine
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.file import File

RECORD = Path("/etc/hubfleet/swarm.json")
"""The swarm that hubfleet made or joined: the machine's node id in it ("" from before that is known), and the hubs that
it is for. A swarm that is not on record is somebody else's."""
PORT = 2377
"""Where managers listen."""
LIMIT_S = 60.0
_INACTIVE = "inactive"
_TOO_SLOW = "deadline exceeded"


def look(engine: Engine, hub: str) -> Observed | None:
    """As `SwarmManager` has it observed; None in no swarm, and in one of ours that is not this hub's."""
    about = engine.get("/info")["Swarm"]
    if about["LocalNodeState"] == _INACTIVE:
        return None
    hubs = recorded(about["NodeID"])
    if hubs and hub not in hubs:
        return None
    return {
        "state": about["LocalNodeState"],
        "error": about["Error"],
        "node": about["NodeID"],
        "address": about["NodeAddr"],
        "manager": bool(about["ControlAvailable"]),
        "managers": sorted(one["Addr"].rpartition(":")[0] for one in about["RemoteManagers"] or []),
        "data_port": (about.get("Cluster") or {}).get("DataPathPort", 0),
        "hubs": hubs,
    }


def inside(engine: Engine) -> bool:
    """Whether this machine is in a swarm, of whomever."""
    return bool(engine.get("/info")["Swarm"]["LocalNodeState"] != _INACTIVE)


def recorded(node: str) -> list[str]:
    """The hubs that this machine is in its swarm for, as the node of that id; none: it is somebody else's."""
    try:
        record = json.loads(RECORD.read_text(encoding="utf-8"))
        return sorted(record["hubs"]) if record["node"] in ("", node) else []
    except (FileNotFoundError, ValueError, KeyError):
        return []


def enter(engine: Engine, hub: str, how: Callable[[], None]) -> str:
    """Makes or joins a swarm by `how`; on record before, so that a kill between the two leaves nothing unknown.

    Returns the id of its node.
    """
    _record("", [hub])
    how()
    node = str(settle(engine)["NodeID"])
    _record(node, [hub])
    return node


def share(engine: Engine, hub: str) -> None:
    """The swarm that this machine is in is this hub's too."""
    node = engine.get("/info")["Swarm"]["NodeID"]
    _record(node, {*recorded(node), hub})


def leave(engine: Engine, hub: str) -> None:
    """Out of the swarm with what runs for it; with other hubs there, only off the record."""
    about = engine.get("/info")["Swarm"]
    others = [one for one in recorded(about["NodeID"]) if one != hub]
    if others:
        _record(about["NodeID"], others)
        return
    _leave(engine)
    RECORD.unlink(missing_ok=True)


def _leave(engine: Engine) -> None:
    """The engine gives itself 15 s to end what it does in the swarm, which is not enough for one that is busy looking
    for a manager that was away: it goes on with that, and a later call finds it done."""
    deadline = time.monotonic() + LIMIT_S
    while engine.get("/info")["Swarm"]["LocalNodeState"] != _INACTIVE:
        try:
            engine.call("POST", "/swarm/leave", None, {"force": True}, LIMIT_S)
        except ApplyError as error:
            if _TOO_SLOW not in error.what or time.monotonic() > deadline:
                raise


def worker_token() -> str:
    """What lets another machine join the swarm that this one manages, and the nodes it has already, as JSON.

    Raises ApplyError if it manages none.
    """
    engine = Engine()
    nodes = [node["ID"] for node in engine.get("/nodes")]
    return json.dumps({"token": engine.get("/swarm")["JoinTokens"]["Worker"], "nodes": nodes})


def settle(engine: Engine) -> dict[str, Any]:
    """Waits until the engine is in its swarm; returns what it says of that. Raises ApplyError with its words if it does
    not come in."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        about: dict[str, Any] = engine.get("/info")["Swarm"]
        if about["LocalNodeState"] == "active" and about["NodeID"]:
            return about
        if time.monotonic() > deadline:
            words = about["Error"] or f"it is {about['LocalNodeState']} after {LIMIT_S:.0f} s"
            raise ApplyError(f"Docker does not come into the swarm: {words}", remedy="journalctl -u docker, to see why")
        time.sleep(0.2)


def _record(node: str, hubs: Iterable[str]) -> None:
    RECORD.parent.mkdir(mode=0o755, exist_ok=True)
    wanted = File(str(RECORD), json.dumps({"node": node, "hubs": sorted(hubs)}) + "\n", mode=0o644)
    file.apply(wanted, Change(wanted, "update"), lambda line: None)
