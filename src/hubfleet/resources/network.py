"""A network of containers: a bridge of the machine, or one that spans the machines of a swarm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource
from hubfleet.resources.dockerengine import known

BRIDGE, OVERLAY = "bridge", "overlay"


@dataclass(frozen=True)
class Network(Resource):
    """A bridge network, unless `driver` says otherwise.

    bridge:      name of its network interface; at most 15 characters, as the kernel demands. Only for a bridge.
    isolated:    its containers do not reach each other. Only for a bridge.
    internal:    its containers reach nothing outside.
    subnet:      such as 10.89.0.0/16; empty: the engine chooses.
    driver:      "bridge", or "overlay": made by a swarm's manager for all its machines.
    attachable:  containers that are no tasks of a service may be on it. Only for an overlay.
    encrypted:   what it sends from machine to machine is. Only for an overlay.
    ip_range:    the part of the subnet of which the engine gives addresses; a container may ask for one outside it.
    gateway:     its address in the subnet; empty: the engine chooses.
    Observed keys: id, driver, bridge, isolated, internal, subnet, ip_range, gateway, attachable, encrypted,
    containers (names of the running ones, and of services); or `dockerengine.STOPPED`.
    """

    kind: ClassVar[str] = "network"
    keyed_by: ClassVar[str] = "name"
    volatile: ClassVar[frozenset[str]] = frozenset({"containers"})

    name: str
    bridge: str = ""
    isolated: bool = False
    internal: bool = False
    subnet: str = ""
    driver: str = BRIDGE
    attachable: bool = False
    encrypted: bool = False
    ip_range: str = ""
    gateway: str = ""

    def steady(self, observed: Observed | None) -> Observed | None:
        return super().steady(observed) if known(observed) else None

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError if it has to be made anew and containers use it."""
        if self._is_bridge and not 0 < len(self.bridge) <= 15:
            raise CheckError(f"{self.bridge!r} is no name for a network interface", remedy="use 1 to 15 characters")
        if observed is None or not known(observed):
            return Change(self, "create", self._words())
        wanted = self._wanted()
        lines = tuple(
            f"{key} {_said(observed[key])} -> {_said(wanted[key])}" for key in wanted if observed[key] != wanted[key]
        )
        if lines and observed["containers"]:
            raise CheckError(
                f"the network {self.name} has to be made anew ({', '.join(lines)}), "
                f"and containers are on it: {', '.join(observed['containers'])}",
                state="It was left as it is",
                remedy="stop these containers, then the same command again",
            )
        return Change(self, "update", ("it is made anew", *lines)) if lines else None

    @property
    def _is_bridge(self) -> bool:
        return self.driver == BRIDGE

    def _words(self) -> tuple[str, ...]:
        words = [f"bridge {self.bridge}" if self._is_bridge else "between the machines of the swarm"]
        words += [f"addresses {self.subnet}"] if self.subnet and not self._is_bridge else []
        words += ["its containers do not reach each other"] if self.isolated else []
        words += ["its containers reach nothing outside"] if self.internal else []
        return (*words, *(["encrypted between machines"] if self.encrypted else []))

    def _wanted(self) -> dict[str, object]:
        """What of the observed keys is wanted; what was left to the engine is not among it."""
        wanted: dict[str, object] = {"internal": self.internal, "driver": self.driver}
        if self._is_bridge:
            wanted.update(bridge=self.bridge, isolated=self.isolated)
        else:
            wanted.update(attachable=self.attachable, encrypted=self.encrypted)
        given = {"subnet": self.subnet, "ip_range": self.ip_range, "gateway": self.gateway}
        return {**wanted, **{name: value for name, value in given.items() if value}}

    def removal(self, observed: Observed | None) -> Change | None:
        """None while containers are on it."""
        return None if observed and observed.get("containers") else super().removal(observed)


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"
