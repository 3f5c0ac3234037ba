"""The machine hubfleet runs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hubfleet import agent
from hubfleet.agent import Progress
from hubfleet.resources import Change, Observed, Resource


@dataclass(frozen=True)
class LocalMachine:
    """This machine; the agent runs in this process."""

    name: str = "local"

    def observe(self, resources: Sequence[Resource]) -> dict[str, Observed | None]:
        return agent.observe(resources)

    def apply(self, change: Change, progress: Progress) -> bool:
        return agent.apply(change, progress)
