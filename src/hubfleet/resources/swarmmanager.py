"""A swarm of Docker engines that this machine manages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Action, Change, Observed, Resource
from hubfleet.resources.dockerengine import known

DATA_PORT = 4789
"""The UDP port between machines that carries what their containers say to each other (VXLAN)."""
JOINING, NAMING, LEAVING = 1, 2, 3
"""Stages: members join once there is a manager, are told apart by it once they have joined, and it ends after them."""


@dataclass(frozen=True)
class SwarmManager(Resource):
    """This machine is the manager of a swarm that hubfleet made. Several hubs may share it.

    name:        of the hub.
    address:     of this machine, where the others reach it; the swarm listens there and nowhere else.
    data_port:   UDP, between all its machines.
    pool:        addresses of networks whose subnet nobody gave, such as 10.210.0.0/16; empty: the engine chooses.
    subnet_size: of each of those, in bits; 0: the engine chooses.
    Absent: in no swarm, or in one of another hub's. Observed keys: state (active; pending, error and locked, as the
    engine says), error (its words), node (id), address, manager (whether it is one), managers (their addresses),
    data_port (0 unless manager), hubs (that hubfleet made or joined it for; none: somebody else did); or
    `dockerengine.STOPPED`.
    """

    kind: ClassVar[str] = "swarm manager"
    keyed_by: ClassVar[str] = "name"
    removed_first: ClassVar[bool] = True
    volatile: ClassVar[frozenset[str]] = frozenset({"state", "error"})

    name: str
    address: str
    data_port: int = DATA_PORT
    pool: str = ""
    subnet_size: int = 0

    def stage(self, action: Action) -> int:
        return LEAVING if action == "remove" else 0

    def steady(self, observed: Observed | None) -> Observed | None:
        return super().steady(observed) if known(observed) else None

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError for a swarm of somebody else's, and for one that would have to be made anew."""
        if observed is None or not known(observed):
            return Change(self, "create", (f"a swarm that other machines join at {self.address}",))
        refuse_foreign(observed)
        if observed["state"] == PENDING:
            return Change(self, "start", (COMES_BACK,))
        if not observed["manager"]:
            lines = (f"it leaves the swarm of {said(observed['managers'])}", f"and makes one at {self.address}")
            return Change(self, "update", lines, SERVERS_END)
        for word, is_, wanted in (
            ("address", observed["address"], self.address),
            ("port for data", observed["data_port"], self.data_port),
        ):
            if is_ != wanted:
                raise CheckError(
                    f"the swarm has the {word} {is_}, and {wanted} is wanted, for which it has to be made anew",
                    state="It was left as it is",
                    remedy=f"keep {is_}; or end all servers and take it apart there: docker swarm leave --force",
                )
        return None

    def removal(self, observed: Observed | None) -> Change | None:
        """None for somebody else's."""
        if not known(observed) or not (observed or {}).get("hubs"):
            return None
        if observed and len(observed["hubs"]) > 1:
            return Change(self, "remove", ("other hubs go on using it",))
        return Change(self, "remove", ("the machine leaves the swarm, which ends with it",), SERVERS_END)


SERVERS_END = "users' servers on this machine end"
PENDING = "pending"
"""The state of an engine that has just been started, and is not back in its swarm yet."""
COMES_BACK = "it is not back in its swarm yet, and is waited for"


def said(addresses: list[str]) -> str:
    """For people."""
    return ", ".join(addresses) or "nobody"


def refuse_foreign(observed: Observed) -> None:
    """Raises CheckError for a swarm that hubfleet did not make, and for one that waits for somebody's key."""
    if not observed["hubs"]:
        what = "manages" if observed["manager"] else f"is part of ({said(observed['managers'])})"
        raise CheckError(
            f"there is a swarm that Docker {what} here, and hubfleet did not make it",
            state="It was left as it is",
            remedy="docker swarm leave, there, if nobody needs it; or another machine",
        )
    if observed["state"] == "locked":
        raise CheckError("the swarm of this machine is locked", remedy="docker swarm unlock, there")
