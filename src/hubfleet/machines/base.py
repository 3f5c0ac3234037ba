"""What a machine must be able to do, wherever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hubfleet.agent import Progress
from hubfleet.resources import Change, Observed, Resource


class Machine(Protocol):
    """A machine that can be looked at and changed."""

    @property
    def name(self) -> str:
        """Its name in plans."""

    def observe(self, resources: Sequence[Resource]) -> dict[str, Observed | None]:
        """What it has of each resource, by id; see `agent.observe`."""

    def apply(self, change: Change, progress: Progress) -> bool:
        """Carries out one change; False if it was done already; see `agent.apply`."""
