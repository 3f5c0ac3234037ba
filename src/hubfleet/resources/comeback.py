"""What starts a hub's containers after a boot, for as long as the engine's own try is not enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubfleet.resources.base import Change, Observed, Resource


@dataclass(frozen=True)
class Comeback(Resource):
    """Containers in a network that spans machines come up again, whichever machine starts first.

    The engine starts them once, when the machine or the engine itself has started; where the swarm's manager does not
    answer within 20 s, it leaves them as they are. This tries until they run.

    name:       of the hub.
    state:      its directory on that machine: nothing is started while a deployment is at work there.
    containers: their names. One that was not to be started again by the engine is left as it is.
    Observed keys: there, kept (it is as wanted, and will be run; True, without being there, where there is no systemd).
    """

    kind: ClassVar[str] = "start after boot"
    keyed_by: ClassVar[str] = "name"

    name: str
    state: str
    containers: tuple[str, ...]

    @property
    def title(self) -> str:
        """What it is, and whose."""
        return f"{self.kind} of hub {self.name}"

    def diff(self, observed: Observed | None) -> Change | None:
        if observed is not None and observed["kept"]:
            return None
        names = ", ".join(self.containers)
        what = f"{names}: tried until they run" if len(self.containers) > 1 else f"{names}: tried until it runs"
        return Change(self, "create" if self.absent(observed) else "update", (what,))

    def absent(self, observed: Observed | None) -> bool:
        return observed is None or not observed["there"]

    def removal(self, observed: Observed | None) -> Change | None:
        return None if self.absent(observed) else super().removal(observed)
