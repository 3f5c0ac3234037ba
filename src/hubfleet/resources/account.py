"""A system account: owns files and runs services, and nobody can log in as it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource

FIRST_HUMAN_UID = 1000


@dataclass(frozen=True)
class Account(Resource):
    """A system account with a group of the same name, without password, home or login shell.

    Removed with all data of its hub only: files would be left with an id that another account may get.

    Observed keys: uid, comment, shell, group (name of the primary group; empty if that group is missing).
    """

    kind: ClassVar[str] = "account"
    keyed_by: ClassVar[str] = "name"
    removable: ClassVar[bool] = False

    name: str
    comment: str = ""

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError if the name belongs to a person."""
        if observed is None:
            return Change(self, "create", ("system account without password and login shell",))
        if observed["uid"] == 0 or observed["uid"] >= FIRST_HUMAN_UID:
            raise CheckError(
                f"the account {self.name} exists and is not a system account (uid {observed['uid']})",
                state="It was left as it is",
                remedy="rename the hub, or rename that account",
            )
        lines = []
        if not observed["shell"].endswith(("/nologin", "/false")):
            lines.append(f"shell {observed['shell']} -> nologin")
        if observed["comment"] != self.comment:
            lines.append(f"comment {observed['comment']!r} -> {self.comment!r}")
        if not observed["group"]:
            lines.append("its group is missing")
        return Change(self, "update", tuple(lines)) if lines else None

    def removal(self, observed: Observed | None) -> Change | None:
        """None for an account that is not as hubfleet makes it. No plan asks: see `removable`."""
        if observed is None or not 0 < observed["uid"] < FIRST_HUMAN_UID or observed["comment"] != self.comment:
            return None
        return Change(self, "remove", ("with all data of its hub",))
