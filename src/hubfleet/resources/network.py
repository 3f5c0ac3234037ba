"""A network of containers: a bridge of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource
from hubfleet.resources.dockerengine import known


@dataclass(frozen=True)
class Network(Resource):
    """A bridge network.

    bridge:   name of its network interface; at most 15 characters, as the kernel demands.
    isolated: its containers do not reach each other.
    internal: its containers reach nothing outside.
    subnet:   such as 10.89.0.0/16; empty: the engine chooses.
    Observed keys: id, driver, bridge, isolated, internal, subnet, containers (names of the running ones); or
    `dockerengine.STOPPED`.
    """

    kind: ClassVar[str] = "network"
    keyed_by: ClassVar[str] = "name"
    volatile: ClassVar[frozenset[str]] = frozenset({"containers"})

    name: str
    bridge: str
    isolated: bool = False
    internal: bool = False
    subnet: str = ""

    def steady(self, observed: Observed | None) -> Observed | None:
        return super().steady(observed) if known(observed) else None

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError if it has to be made anew and containers use it."""
        if not 0 < len(self.bridge) <= 15:
            raise CheckError(f"{self.bridge!r} is no name for a network interface", remedy="use 1 to 15 characters")
        if observed is None or not known(observed):
            words = ["its containers do not reach each other"] if self.isolated else []
            words += ["its containers reach nothing outside"] if self.internal else []
            return Change(self, "create", (f"bridge {self.bridge}", *words))
        wanted = {"driver": "bridge", "bridge": self.bridge, "isolated": self.isolated, "internal": self.internal}
        if self.subnet:
            wanted["subnet"] = self.subnet
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

    def removal(self, observed: Observed | None) -> Change | None:
        """None while containers are on it."""
        return None if observed and observed.get("containers") else super().removal(observed)


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"
