"""An image on its way to other machines: given to a registry by the one that has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubfleet.resources.base import Change, Observed, Resource
from hubfleet.resources.dockerengine import known


@dataclass(frozen=True)
class ImageGiven(Resource):
    """An image of this machine that a registry has. It is never taken back: a registry may be others' too.

    reference: its name there, with the registry and a tag that says what is in it, so that it never changes.
    tag:       its name here.
    Absent: the registry does not have it, or does not answer. Observed keys: digest (in the registry); or
    `dockerengine.STOPPED`.
    """

    kind: ClassVar[str] = "image in the registry"
    keyed_by: ClassVar[str] = "reference"
    removable: ClassVar[bool] = False

    reference: str
    tag: str

    def steady(self, observed: Observed | None) -> Observed | None:
        """The reference says what is in it: no plan goes stale."""
        return None

    def diff(self, observed: Observed | None) -> Change | None:
        return None if known(observed) else Change(self, "create", (f"from {self.tag}",))
