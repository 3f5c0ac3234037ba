"""What a swarm's engine keeps of what was mounted for users' servers: names and options, and no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubfleet.resources.base import Change, Observed, Resource
from hubfleet.resources.dockerengine import known


@dataclass(frozen=True)
class Volumes(Resource):
    """The volumes of a hub's servers on a machine. Servers bring them, and the next one of the same person has them
    again; so none is ever missing. They go with the hub, or when the machine has no servers any more.

    A home that is mounted by one is on the storage, and not in it; what was in memory is gone.
    Absent: there are none. Observed keys: names; or `dockerengine.STOPPED`.
    """

    kind: ClassVar[str] = "set of volumes"
    keyed_by: ClassVar[str] = "hub"

    hub: str

    def steady(self, observed: Observed | None) -> Observed | None:
        """They come with servers: no plan goes stale."""
        return None

    def diff(self, observed: Observed | None) -> Change | None:
        return None

    def removal(self, observed: Observed | None) -> Change | None:
        if observed is None or not known(observed):
            return None
        count = len(observed["names"])
        words = "1 of users' servers" if count == 1 else f"{count} of users' servers"
        return Change(self, "remove", (f"{words}; nobody's files are in them",))
