"""The hub's database as it was: a copy that is put back once, with the present one kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource


@dataclass(frozen=True)
class Database(Resource):
    """A step of a rollback. What the hub writes afterwards is its own: the step is done when it was done once.

    path:      of the database.
    copy:      what is put back.
    kept:      where the present one is kept.
    container: the hub's, which is stopped before. Whatever starts the hub comes after this in a plan.
    mark:      a number that no other rollback of this hub has; kept in the database, so that it comes with it.
    Observed keys: mark (0: none), copy (whether it is there).
    """

    kind: ClassVar[str] = "database"
    removable: ClassVar[bool] = False
    recorded: ClassVar[bool] = False

    path: str
    copy: str
    kept: str
    container: str
    mark: int

    @property
    def serves(self) -> bool:
        return True

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError if the copy is gone."""
        if observed is None or observed["mark"] != self.mark:
            if observed is None or not observed["copy"]:
                raise CheckError(f"{self.copy} is gone", remedy="hubfleet rollback --keep-database")
            detail = (f"{self.copy} is put back", f"the present one is kept in {self.kept}")
            return Change(self, "update", detail, "nobody can log in until the hub runs again")
        return None

    def steady(self, observed: Observed | None) -> Observed | None:
        """What the hub writes meanwhile is kept with the rest: no plan goes stale."""
        return None
