"""A directory that several machines see as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubfleet.resources.base import Action, Change, Observed, Resource
from hubfleet.resources.swarmmanager import JOINING


@dataclass(frozen=True)
class SharedDirectory(Resource):
    """A directory of this machine that is another machine's too. It is made by neither, and never removed.

    marker:  a file in it that the other machine has written.
    content: what is in there.
    Absent: no such directory. Observed keys: mounted (it is on a file system of its own), source (of that, as the
    kernel has it), content (of the marker; empty without one).
    """

    kind: ClassVar[str] = "shared directory"
    removable: ClassVar[bool] = False

    path: str
    marker: str
    content: str

    def stage(self, action: Action) -> int:
        """After the other machine has written."""
        return JOINING

    def steady(self, observed: Observed | None) -> Observed | None:
        """It is looked at, and nothing is done to it: no plan goes stale."""
        return None

    def diff(self, observed: Observed | None) -> Change | None:
        if observed is not None and observed["content"] == self.content:
            return None
        return Change(self, "update", ("it is looked whether this is the same here as on the machine that has it",))
