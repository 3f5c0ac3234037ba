"""Tells the machines of a swarm apart, on its manager: labels, availability, and which are gone."""

from __future__ import annotations

import time
from typing import Any

from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Absent, Engine, observed_of
from hubfleet.agent.swarm import LIMIT_S
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.swarmnode import DRAIN, READY, SwarmNode

READY_LIMIT_S = 90.0
"""How long a machine may take to report to its manager, once it answers others."""
_LABEL = "machine"
_OVER = ("complete", "failed", "rejected", "shutdown", "orphaned", "remove")
_AWAY = ("down", "disconnected")
_OURS = "hubfleet."
_Node = dict[str, Any]


def observe(node: SwarmNode) -> Observed | None:
    return observed_of(_look, node)


def _look(engine: Engine, node: SwarmNode) -> Observed | None:
    if not engine.get("/info")["Swarm"]["ControlAvailable"]:
        return None  # it will be, or it was
    nodes = engine.get("/nodes")
    named = _named(nodes, node)
    if not named:
        return None
    current = _current(nodes, node)
    old = [one["ID"] for one in named if current is None or one["ID"] != current["ID"]]
    known = current is not None and current["ID"] not in old and current in named
    return {
        "id": current["ID"] if current and known else "",
        "state": current["Status"]["State"] if current else "down",
        "manager": bool(current and current.get("ManagerStatus")),
        "labels": _labels(current, node) if current else {},
        "availability": current["Spec"]["Availability"] if current else "",
        "old": old,
    }


def _named(nodes: list[_Node], node: SwarmNode) -> list[_Node]:
    """Those that we have called so."""
    label = f"{node.prefix}{_LABEL}"
    return [one for one in nodes if (one["Spec"].get("Labels") or {}).get(label) == node.name]


def _current(nodes: list[_Node], node: SwarmNode) -> _Node | None:
    """The machine's node: of those at its address the one that is up, or came last (one that is no more counts as up
    for as long as it may miss its signs of life)."""
    there = [one for one in nodes if _address(one) == node.address]
    return max(there, key=lambda one: (one["Status"]["State"] not in _AWAY, one["CreatedAt"]), default=None)


def _address(found: _Node) -> str:
    manager = (found.get("ManagerStatus") or {}).get("Addr", "")
    return str(manager.rpartition(":")[0] or found["Status"].get("Addr", ""))


def _labels(found: _Node, node: SwarmNode) -> dict[str, str]:
    labels = found["Spec"].get("Labels") or {}
    return {name[len(node.prefix) :]: value for name, value in labels.items() if name.startswith(node.prefix)}


def apply(node: SwarmNode, change: Change, progress: Progress) -> None:
    """Returns when the machine is known and ready, and what it was before is not known. Raises ApplyError if it has not
    joined, or does not report."""
    engine = Engine()
    if change.action == "remove":
        for found in _named(engine.get("/nodes"), node):
            _forget(engine, node, found, progress)
        return
    current = _joined(engine, node, progress)
    labels = {f"{node.prefix}{name}": value for name, value in node.wanted_labels.items()}
    _update(engine, node, current["ID"], labels, node.availability)
    for found in _named(engine.get("/nodes"), node):
        if found["ID"] != current["ID"]:
            _forget(engine, node, found, progress)
    if node.awaited:
        _await_ready(engine, node, current["ID"], progress)


def _await_ready(engine: Engine, node: SwarmNode, which: str, progress: Progress) -> None:
    told = ""
    deadline = time.monotonic() + READY_LIMIT_S
    while True:
        status = engine.get(f"/nodes/{which}")["Status"]
        state = status["State"]
        if state == READY:
            return
        if state != told:
            progress(f"waiting for {node.name} to be ready in the swarm, which has it as {state}")
            told = state
        if time.monotonic() > deadline:
            words = ": ".join(filter(None, [state, status.get("Message", "")]))
            raise ApplyError(
                f"{node.name} does not report to its swarm, which has it as {words} (waited {READY_LIMIT_S:.0f} s)",
                remedy=f"docker info, on {node.name}, to see what it says of its swarm",
            )
        time.sleep(0.2)


def _joined(engine: Engine, node: SwarmNode, progress: Progress) -> _Node:
    progress(f"waiting for {node.name} to be in the swarm")
    deadline = time.monotonic() + LIMIT_S
    while True:
        nodes = engine.get("/nodes")
        found = _current(nodes, node)
        if found is not None and (found["Status"]["State"] == READY or _named([found], node)):
            return found
        if time.monotonic() > deadline:
            there = ", ".join(f"{one['Description']['Hostname']} at {_address(one)}" for one in nodes)
            raise ApplyError(
                f"no machine has joined the swarm at {node.address} (waited {LIMIT_S:.0f} s); there are {there}",
                remedy=f"docker info, on {node.name}, to see what it says of its swarm",
            )
        time.sleep(0.2)


def _update(engine: Engine, node: SwarmNode, which: str, labels: dict[str, str], availability: str) -> None:
    """Gives it exactly these of our labels. Somebody else may have changed it meanwhile: then once more."""
    for last in (False, False, True):
        found = engine.get(f"/nodes/{which}")
        others = {name: value for name, value in found["Spec"].get("Labels", {}).items() if not _of(node, name)}
        spec = {**found["Spec"], "Labels": {**others, **labels}, "Availability": availability}
        try:
            engine.call("POST", f"/nodes/{which}/update", spec, {"version": found["Version"]["Index"]})
        except ApplyError as error:
            if last or "out of sequence" not in error.what:
                raise
        else:
            return


def _of(node: SwarmNode, label: str) -> bool:
    return label.startswith(node.prefix)


def _forget(engine: Engine, node: SwarmNode, found: _Node, progress: Progress) -> None:
    """Ends what runs there and removes it; from one that serves other hubs, or is the manager, only our labels."""
    labels = found["Spec"].get("Labels") or {}
    shared = any(name.startswith(_OURS) and not _of(node, name) for name in labels)
    if found.get("ManagerStatus") or shared:
        _update(engine, node, found["ID"], {}, found["Spec"]["Availability"])
        return
    current = _current(engine.get("/nodes"), node)
    replaced = current is not None and current["ID"] != found["ID"] and _address(found) == node.address
    if found["Status"]["State"] == READY and not replaced:
        progress(f"ending what runs on {node.name}")
        _update(engine, node, found["ID"], {name: labels[name] for name in labels if _of(node, name)}, DRAIN)
        _await_empty(engine, found["ID"])
    try:
        engine.call("DELETE", f"/nodes/{found['ID']}", None, {"force": True})
    except Absent:
        return


def _await_empty(engine: Engine, which: str) -> None:
    """Until nothing runs there, or it is away, or for as long as an end may take; then the removal ends it."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        tasks = engine.get("/tasks", filters={"node": [which]})
        if engine.get(f"/nodes/{which}")["Status"]["State"] in _AWAY:
            return
        if all(task["Status"]["State"] in _OVER or not task.get("ServiceID") for task in tasks):
            return
        time.sleep(0.2)
