"""Makes and removes networks of containers."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Absent, Engine, observed_of
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.network import BRIDGE, Network

LIMIT_S, _AGAIN_S = 30.0, 0.2
_BRIDGE = "com.docker.network.bridge.name"
_REACH = "com.docker.network.bridge.enable_icc"
_ENCRYPTED = "encrypted"


def observe(network: Network) -> Observed | None:
    return observed_of(_look, network)


def _look(engine: Engine, network: Network) -> Observed | None:
    found = _found(engine, network.name)
    if found is None:
        return None
    options = found.get("Options") or {}
    given: dict[str, Any] = next(iter((found.get("IPAM") or {}).get("Config") or []), {})
    # "lb-": the engine's own, one on each machine
    there = [one["Name"] for key, one in (found.get("Containers") or {}).items() if not key.startswith("lb-")]
    return {
        "id": found["Id"],
        "driver": found["Driver"],
        "bridge": options.get(_BRIDGE, ""),
        "isolated": options.get(_REACH) == "false",
        "internal": bool(found["Internal"]),
        "subnet": str(given.get("Subnet", "")),
        "ip_range": str(given.get("IPRange", "")),
        "gateway": str(given.get("Gateway", "")),
        "attachable": bool(found["Attachable"]),
        "encrypted": _ENCRYPTED in options,
        "containers": sorted([*there, *_services(engine, found)]),
    }


def _services(engine: Engine, found: dict[str, Any]) -> list[str]:
    """Names of the services whose tasks are on a network of a swarm; only managers know any."""
    if found["Scope"] != "swarm" or not engine.get("/info")["Swarm"]["ControlAvailable"]:
        return []
    return [
        service["Spec"]["Name"]
        for service in engine.get("/services")
        for one in service["Spec"]["TaskTemplate"].get("Networks") or []
        if one["Target"] in (found["Id"], found["Name"])
    ]


def apply(network: Network, change: Change, progress: Progress) -> None:
    """One that differs is removed and made anew; the engine refuses if a container has come meanwhile."""
    engine = Engine()
    found = _found(engine, network.name)
    if found is not None:
        with suppress(Absent):
            engine.call("DELETE", f"/networks/{found['Id']}")
    if change.action == "remove":
        return
    engine.call("POST", "/networks/create", _body(network))
    if network.driver != BRIDGE:
        _await_allotted(engine, network.name)


def _await_allotted(engine: Engine, name: str) -> None:
    """Until the swarm has taken up a network of its own: before that it says nothing of its driver and addresses."""
    deadline = time.monotonic() + LIMIT_S
    while not (found := _found(engine, name)) or not found["Driver"]:
        if time.monotonic() > deadline:
            raise ApplyError(f"the swarm has not taken up the network {name} in {LIMIT_S:.0f} s")
        time.sleep(_AGAIN_S)


def _body(network: Network) -> dict[str, Any]:
    body: dict[str, Any] = {"Name": network.name, "CheckDuplicate": True, "Driver": network.driver}
    options: dict[str, str] = {}
    if network.driver == BRIDGE:
        options = {_BRIDGE: network.bridge, _REACH: "false" if network.isolated else "true"}
    elif network.encrypted:
        options = {_ENCRYPTED: ""}
    body.update(Internal=network.internal, Attachable=network.attachable, Options=options)
    given = {"Subnet": network.subnet, "IPRange": network.ip_range, "Gateway": network.gateway}
    if pool := {name: value for name, value in given.items() if value}:
        body["IPAM"] = {"Driver": "default", "Config": [pool]}
    return body


def _found(engine: Engine, name: str) -> dict[str, Any] | None:
    """By its whole name: the engine would also take the beginning of an id for one."""
    listed = engine.get("/networks", filters={"name": [name]})
    ids = [one["Id"] for one in listed if one["Name"] == name]
    found: dict[str, Any] | None = engine.find(f"/networks/{ids[0]}") if ids else None
    return found
