"""Makes a swarm of Docker engines, with this machine as its manager."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hubfleet.agent import swarm
from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Engine, observed_of
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.swarmmanager import SwarmManager
from hubfleet.resources.trial import HUB_LABEL


def observe(manager: SwarmManager) -> Observed | None:
    return observed_of(lambda engine, wanted: swarm.look(engine, wanted.name), manager)


def apply(manager: SwarmManager, change: Change, progress: Progress) -> None:
    """Raises ApplyError with the engine's words if it refuses."""
    engine = Engine()
    if change.action == "remove":
        _forget_kept(engine, manager)
        progress("leaving the swarm")
        swarm.leave(engine, manager.name)
        return
    if change.action == "start":
        progress("waiting for Docker to be back in its swarm")
        swarm.settle(engine)
        return
    here = engine.get("/info")["Swarm"]
    if here["ControlAvailable"] and swarm.recorded(here["NodeID"]):  # another hub's, or one that was just begun
        swarm.share(engine, manager.name)
        return
    if change.action == "update" and swarm.inside(engine):
        progress("leaving the earlier swarm")
        swarm.leave(engine, manager.name)
    progress("making a swarm")
    swarm.enter(engine, manager.name, lambda: engine.call("POST", "/swarm/init", _body(manager)))


def _forget_kept(engine: Engine, manager: SwarmManager) -> None:
    """What the swarm has for servers of this hub: with other hubs on it, it goes on. A service that somebody has left
    keeps its own."""
    if not engine.get("/info")["Swarm"]["ControlAvailable"]:
        return
    ours = {"label": [f"{HUB_LABEL}={manager.name}"]}
    for kind in ("secrets", "configs"):
        for found in engine.get(f"/{kind}", filters=ours):
            with suppress(ApplyError):
                engine.call("DELETE", f"/{kind}/{found['ID']}")


def _body(manager: SwarmManager) -> dict[str, Any]:
    body: dict[str, Any] = {
        "ListenAddr": f"{manager.address}:{swarm.PORT}",
        "AdvertiseAddr": manager.address,
        "DataPathAddr": manager.address,
        "DataPathPort": manager.data_port,
        "Spec": {},
    }
    if manager.pool:
        body["DefaultAddrPool"] = [manager.pool]
    if manager.subnet_size:
        body["SubnetSize"] = manager.subnet_size
    return body
