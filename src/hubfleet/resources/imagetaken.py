"""An image that came from another machine: taken from a registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubfleet.resources.base import Action, Change, Observed, Resource
from hubfleet.resources.dockerengine import known
from hubfleet.resources.swarmmanager import JOINING


@dataclass(frozen=True)
class ImageTaken(Resource):
    """An image that this machine has from a registry.

    Observed keys: id, users (containers made from it, running or not); or `dockerengine.STOPPED`.
    """

    kind: ClassVar[str] = "image from the registry"
    keyed_by: ClassVar[str] = "reference"

    reference: str

    def stage(self, action: Action) -> int:
        """After it was given."""
        return JOINING

    def steady(self, observed: Observed | None) -> Observed | None:
        """The reference says what is in it: no plan goes stale."""
        return None

    def diff(self, observed: Observed | None) -> Change | None:
        return None if known(observed) else Change(self, "create")

    def removal(self, observed: Observed | None) -> Change | None:
        """None while there are containers of it."""
        return None if observed and observed.get("users") else super().removal(observed)
