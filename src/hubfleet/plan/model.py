"""A plan as data: what is wanted, and the ordered changes that lead there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubfleet.resources import Change, Resource

Placed = tuple[str, Resource]
"""A machine's name and a resource on it."""


@dataclass(frozen=True)
class Desired:
    """All that a hub should consist of.

    machines: resources by machine, in the order in which they must be made.
    notes:    lines for the operator that are no changes.
    settings: what differs in the configuration since the last deployment, a line each.
    holds:    id of the file that holds the configuration, of which those lines say all that people want to know.
    again:    number of the generation that this is once more; 0 if it is as the configuration says.
    """

    hub: str
    state_dir: Path
    machines: dict[str, tuple[Resource, ...]]
    notes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    holds: str = ""
    again: int = 0


@dataclass(frozen=True)
class Manifest:
    """What earlier deployments made, finished or not.

    number:    the newest generation; 0 before the first.
    resources: by machine; secret contents are replaced by digests.
    """

    number: int = 0
    resources: dict[str, tuple[Resource, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The changes, in order. What is shown is exactly what `apply_plan` carries out.

    leftovers: what earlier deployments made, is no longer wanted, and is still there (removed by this plan,
               or still in use).
    base:      number of the generation the plan was made against.
    """

    hub: str
    changes: tuple[tuple[str, Change], ...]
    notes: tuple[str, ...]
    desired: Desired
    leftovers: tuple[Placed, ...] = ()
    base: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to change."""
        return not self.changes

    def to_json(self) -> dict[str, Any]:
        """What `hubfleet plan --json` prints."""
        return {
            "hub": self.hub,
            "settings": list(self.desired.settings),
            "changes": [
                {
                    "machine": machine,
                    "resource": change.resource.id,
                    "action": change.action,
                    "detail": list(change.detail),
                    "impact": change.impact,
                }
                for machine, change in self.changes
            ],
            "notes": list(self.notes),
        }
