"""What a keeper of homes is told, by its own file and by nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Bytes of a home; None: no limit.

    ``people``: those of whom it is not the usual, by the name of their home. ``groups``: those of groups whose people
    others than the file know; the launcher says of whom it is one of these.
    """

    usual: int | None = None
    people: Mapping[str, int | None] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Limits:
        return cls(data["usual"], data["people"], data.get("groups", {}))

    def to_json(self) -> dict[str, Any]:
        groups = {"groups": dict(self.groups)} if self.groups else {}
        return {"usual": self.usual, "people": dict(self.people), **groups}

    def of(self, name: str, group: str | None = None) -> int | None:
        """Of one home. ``group``: the one that has it so; one that is not among ``groups`` counts for nothing."""
        if group is not None and group in self.groups:
            return self.groups[group]
        return self.people.get(name, self.usual)


def settings(place: Path, skeleton: Path | None, minimum: int, limits: Limits, counted: bool = False) -> dict[str, Any]:
    """What `client.keeper_of` reads: where homes are, what new ones hold, the least id that may own one, how much they
    may hold, and whether their file system is to count that."""
    told = {"place": str(place), "skeleton": str(skeleton) if skeleton else None, "minimum": minimum}
    return {**told, "limits": limits.to_json(), **({"counted": True} if counted else {})}
