"""A machine's place in a swarm that another machine manages."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import ClassVar

from hubfleet.resources.base import Action, Change, Observed, Resource
from hubfleet.resources.dockerengine import known
from hubfleet.resources.swarmmanager import (
    COMES_BACK,
    JOINING,
    PENDING,
    SERVERS_END,
    SwarmManager,
    refuse_foreign,
    said,
)

WORKER_TOKEN = "swarm worker token"
"""What a manager's machine is asked for, so that another may join: JSON with token, and nodes (ids of those it has)."""


@dataclass(frozen=True)
class SwarmMember(Resource):
    """This machine is in the swarm of another, as a worker: it does what it is told, and sees nothing of the rest.

    name:            of the hub.
    manager:         the name, in plans, of the machine that manages the swarm: it is asked for the token.
    manager_address: where that listens.
    address:         of this machine, where the others reach it.
    node:            the name, in plans, of this machine.
    token:           lets a machine join. Given when the step is begun (`needs`), and nowhere written.
    nodes:           ids of those that the manager knows; given together with it.
    Observed: as of `SwarmManager`, and same (whether what answers at the manager's address is a manager of the swarm
    that this machine is in; True where nothing answers), known (whether it is one of `nodes`, where these are given,
    or has joined since).
    """

    kind: ClassVar[str] = "swarm member"
    keyed_by: ClassVar[str] = "name"
    removed_first: ClassVar[bool] = True
    volatile: ClassVar[frozenset[str]] = frozenset({"state", "error", "same", "known"})

    name: str
    manager: str
    manager_address: str
    address: str
    node: str
    token: str = field(default="", repr=False)
    nodes: tuple[str, ...] = ()

    @property
    def follows(self) -> tuple[tuple[str, str, Action], ...]:
        swarm = f"{SwarmManager.kind}:{self.name}"
        node = f"swarm node:{self.node}"
        return (self.manager, swarm, "create"), (self.manager, swarm, "update"), (self.manager, node, "create")

    def followed(self) -> Change:
        return Change(self, "update", ("joins again, unless its manager knows it",), SERVERS_END)

    @property
    def needs(self) -> tuple[str, str] | None:
        return self.manager, WORKER_TOKEN

    def given(self, secret: str) -> SwarmMember:
        told = json.loads(secret)
        return replace(self, token=told["token"], nodes=tuple(told["nodes"]))

    def redacted(self) -> SwarmMember:
        return replace(self, token="", nodes=())

    def stage(self, action: Action) -> int:
        return JOINING

    def steady(self, observed: Observed | None) -> Observed | None:
        return super().steady(observed) if known(observed) else None

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError for a swarm of somebody else's."""
        joins = f"joins the swarm of {self.manager} ({self.manager_address}) as {self.address}"
        if observed is None or not known(observed):
            return Change(self, "create", (joins,))
        refuse_foreign(observed)
        reason = self._reason(observed)
        if reason:
            return Change(self, "update", (reason, joins), SERVERS_END)
        return Change(self, "start", (COMES_BACK,)) if observed["state"] == PENDING else None

    def _reason(self, observed: Observed) -> str:
        """Why it has to join anew; empty if it has not."""
        if observed["manager"]:
            return f"leaves the swarm that it manages itself, at {observed['address']}"
        if self.manager_address not in observed["managers"]:
            return f"leaves the swarm of {said(observed['managers'])}"
        if not observed["same"]:
            return f"leaves its swarm: what {self.manager} manages now is another one"
        if not observed["known"]:
            return f"leaves its swarm, which {self.manager} has removed it from"
        if observed["state"] == "error":
            return f"leaves its swarm, which does not take it any more ({observed['error']})"
        if observed["address"] != self.address:
            return f"leaves its swarm, where it is known as {observed['address']}"
        return ""

    def removal(self, observed: Observed | None) -> Change | None:
        """None for somebody else's."""
        if not known(observed) or not (observed or {}).get("hubs"):
            return None
        if observed and len(observed["hubs"]) > 1:
            return Change(self, "remove", ("it stays in the swarm for other hubs",))
        return Change(self, "remove", ("the machine leaves the swarm",), SERVERS_END)
