"""What the manager of a swarm knows of one of its machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from hubfleet.resources.base import Action, Change, Observed, Resource
from hubfleet.resources.dockerengine import known
from hubfleet.resources.swarmmanager import NAMING
from hubfleet.resources.swarmmember import SwarmMember

ACTIVE, DRAIN = "active", "drain"
READY = "ready"


@dataclass(frozen=True)
class SwarmNode(Resource):
    """A machine of the swarm, as its manager has it: which it is, and what is started on it.

    It is found by its address. One that was installed anew is another node at the same address; the old one is removed.

    name:         of the machine, in plans; kept in the label `machine`.
    hub:          whose labels these are: `hubfleet.<hub>.<label>`. Others are left alone.
    address:      of the machine, as the manager sees it.
    labels:       without what they begin with.
    availability: "active", or "drain": what runs there is ended, and nothing is started.
    awaited:      whether it is to be ready, which is waited for: one that has just booted has none of the swarm's
                  networks before.
    Absent: no node is known by this name. Observed keys: id (empty: only earlier nodes have the name), state (ready,
    down and others), manager (whether it is one), labels (this hub's, without what they begin with), availability, old
    (ids of the earlier ones); or `dockerengine.STOPPED`.
    """

    kind: ClassVar[str] = "swarm node"
    keyed_by: ClassVar[str] = "name"
    removed_first: ClassVar[bool] = True

    name: str
    hub: str
    address: str
    labels: dict[str, str] = field(default_factory=dict)
    availability: str = ACTIVE
    awaited: bool = True

    @property
    def prefix(self) -> str:
        """What the labels of this hub begin with."""
        return f"hubfleet.{self.hub}."

    @property
    def wanted_labels(self) -> dict[str, str]:
        """With the one that says which machine it is."""
        return {**self.labels, "machine": self.name}

    @property
    def follows(self) -> tuple[tuple[str, str, Action], ...]:
        member = f"{SwarmMember.kind}:{self.hub}"
        return (self.name, member, "create"), (self.name, member, "update")

    def followed(self) -> Change:
        return Change(self, "update", ("it joins again, as another node",))

    def stage(self, action: Action) -> int:
        """It is drained before the machine leaves."""
        return 0 if action == "remove" else NAMING

    def steady(self, observed: Observed | None) -> Observed | None:
        """Machines join between plan and step, and come and go: no plan goes stale."""
        return None

    def diff(self, observed: Observed | None) -> Change | None:
        words = [f"{name}={value}" for name, value in sorted(self.labels.items())]
        drained = "what runs there is ended, and nothing is started" if self.availability == DRAIN else ""
        if observed is None or not known(observed):
            return Change(self, "create", tuple(filter(None, [f"at {self.address}", *words, drained])))
        lines = [f"the node that it was before is removed ({old})" for old in observed["old"]]
        impact = ""
        if not observed["id"]:
            lines += [f"at {self.address}", *words]
        else:
            lines += _differences(observed["labels"], self.wanted_labels)
            if observed["availability"] != self.availability:
                lines.append(f"availability {observed['availability']} -> {self.availability}")
                impact = "users' servers there end" if self.availability == DRAIN else ""
            if self.awaited and observed["state"] != READY:
                lines.append(f"the swarm has it as {observed['state']}; it is waited for")
        return Change(self, "update", tuple(lines), impact) if lines else None

    def removal(self, observed: Observed | None) -> Change | None:
        if observed is None or not known(observed):
            return None
        if observed["manager"]:
            return Change(self, "remove", ("its labels are removed",))
        ready = observed["state"] == READY
        lines = ("what runs there is ended, then it is forgotten",) if ready else ("it is down, and is forgotten",)
        return Change(self, "remove", lines, "users' servers there end" if ready else "")


def _differences(is_: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return [
        f"label {name} {is_.get(name, 'none')} -> {wanted.get(name, 'none')}"
        for name in sorted({**is_, **wanted})
        if is_.get(name) != wanted.get(name)
    ]
