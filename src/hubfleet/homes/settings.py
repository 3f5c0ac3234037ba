"""What a keeper of homes is told, by its own file and by nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Bytes of a home; None: no limit.

    ``people``: those of whom it is not the usual, by the name of their home. ``told``: those that the launcher may ask
    for, for people of groups whom others than the file know.
    """

    usual: int | None = None
    people: Mapping[str, int | None] = field(default_factory=dict)
    told: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Limits:
        return cls(data["usual"], data["people"], tuple(data.get("told", ())))

    def to_json(self) -> dict[str, Any]:
        asked = {"told": list(self.told)} if self.told else {}
        return {"usual": self.usual, "people": dict(self.people), **asked}

    def of(self, name: str, asked: int | None = None) -> int | None:
        """Of one home. ``asked``: by the launcher; one that no group has counts for nothing."""
        return asked if asked in self.told else self.people.get(name, self.usual)


def settings(place: Path, skeleton: Path | None, minimum: int, limits: Limits, counted: bool = False) -> dict[str, Any]:
    """What `client.keeper_of` reads: where homes are, what new ones hold, the least id that may own one, how much they
    may hold, and whether their file system is to count that."""
    told = {"place": str(place), "skeleton": str(skeleton) if skeleton else None, "minimum": minimum}
    return {**told, "limits": limits.to_json(), **({"counted": True} if counted else {})}
