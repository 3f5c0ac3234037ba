"""Removes the volumes of a hub's servers."""

from __future__ import annotations

import time
from contextlib import suppress

from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Absent, Engine, observed_of
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.trial import HUB_LABEL, SERVER_LABEL
from hubfleet.resources.volumes import Volumes

LIMIT_S = 60.0
"""How long the container of a server that has ended may be there yet."""
_AGAIN_S = 0.2
_IN_USE = "in use"
_ENDED = ["created", "exited", "dead"]


def observe(volumes: Volumes) -> Observed | None:
    return observed_of(_look, volumes)


def _look(engine: Engine, volumes: Volumes) -> Observed | None:
    names = _names(engine, volumes)
    return {"names": names} if names else None


def _names(engine: Engine, volumes: Volumes) -> list[str]:
    found = engine.get("/volumes", filters={"label": [f"{HUB_LABEL}={volumes.hub}"]})["Volumes"]
    return sorted(one["Name"] for one in found or ())


def apply(volumes: Volumes, change: Change, progress: Progress) -> None:
    """The engine unmounts what is mounted yet, and deletes nothing of what was mounted.

    Raises ApplyError for one that a container has.
    """
    engine = Engine()
    deadline, told = time.monotonic() + LIMIT_S, ""
    for name in _names(engine, volumes):
        while True:
            try:
                with suppress(Absent):
                    engine.call("DELETE", f"/volumes/{name}")
                break
            except ApplyError as error:
                if _IN_USE not in error.what or time.monotonic() > deadline:
                    raise
            if name != told:
                progress(f"waiting for the container that has {name} to be gone")
                told = name
            _remove_ended(engine, volumes)
            time.sleep(_AGAIN_S)


def _remove_ended(engine: Engine, volumes: Volumes) -> None:
    """The containers of servers that have ended. A swarm removes them, unless the machine was off meanwhile."""
    labels = [f"{HUB_LABEL}={volumes.hub}", SERVER_LABEL]
    for found in engine.get("/containers/json", all=True, filters={"label": labels, "status": _ENDED}):
        with suppress(Absent):
            engine.call("DELETE", f"/containers/{found['Id']}")
