"""Makes a swarm of Docker engines, with this machine as its manager."""

from __future__ import annotations

from typing import Any

from hubfleet.agent import swarm
from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Engine, observed_of
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.swarmmanager import SwarmManager


def observe(manager: SwarmManager) -> Observed | None:
    return observed_of(lambda engine, wanted: swarm.look(engine, wanted.name), manager)


def apply(manager: SwarmManager, change: Change, progress: Progress) -> None:
    """Raises ApplyError with the engine's words if it refuses."""
    engine = Engine()
    if change.action == "remove":
        progress("leaving the swarm")
        swarm.leave(engine, manager.name)
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
