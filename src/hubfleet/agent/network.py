"""Makes and removes networks of containers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Absent, Engine, observed_of
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.network import Network

_BRIDGE = "com.docker.network.bridge.name"
_REACH = "com.docker.network.bridge.enable_icc"


def observe(network: Network) -> Observed | None:
    return observed_of(_look, network)


def _look(engine: Engine, network: Network) -> Observed | None:
    found = _found(engine, network.name)
    if found is None:
        return None
    options = found.get("Options") or {}
    subnets = [one.get("Subnet", "") for one in (found.get("IPAM") or {}).get("Config") or []]
    return {
        "id": found["Id"],
        "driver": found["Driver"],
        "bridge": options.get(_BRIDGE, ""),
        "isolated": options.get(_REACH) == "false",
        "internal": bool(found["Internal"]),
        "subnet": subnets[0] if subnets else "",
        "containers": sorted(one["Name"] for one in (found.get("Containers") or {}).values()),
    }


def apply(network: Network, change: Change, progress: Progress) -> None:
    """One that differs is removed and made anew; the engine refuses if a container has come meanwhile."""
    engine = Engine()
    found = _found(engine, network.name)
    if found is not None:
        with suppress(Absent):
            engine.call("DELETE", f"/networks/{found['Id']}")
    if change.action == "remove":
        return
    body: dict[str, Any] = {
        "Name": network.name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "Internal": network.internal,
        "Options": {_BRIDGE: network.bridge, _REACH: "false" if network.isolated else "true"},
    }
    if network.subnet:
        body["IPAM"] = {"Driver": "default", "Config": [{"Subnet": network.subnet}]}
    engine.call("POST", "/networks/create", body)


def _found(engine: Engine, name: str) -> dict[str, Any] | None:
    """By its whole name: the engine would also take the beginning of an id for one."""
    listed = engine.get("/networks", filters={"name": [name]})
    ids = [one["Id"] for one in listed if one["Name"] == name]
    found: dict[str, Any] | None = engine.find(f"/networks/{ids[0]}") if ids else None
    return found
