"""A directory with an owner and a mode. What it holds is not looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource, access, access_changes


@dataclass(frozen=True)
class Directory(Resource):
    """A directory; its parent must exist. Never removed.

    owner, group: names; empty means "leave as it is".
    Observed keys: type (file, symlink, directory, other), owner, group, mode. A link made by root or by the
    account hubfleet runs as is followed; any other link is reported as `symlink`.
    """

    kind: ClassVar[str] = "directory"
    removable: ClassVar[bool] = False

    path: str
    owner: str = ""
    group: str = ""
    mode: int = 0o755

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError if something else is at the path."""
        if observed is None:
            return Change(self, "create", (access(self.owner, self.group, self.mode),))
        if observed["type"] != "directory":
            kind = "a link that root did not make" if observed["type"] == "symlink" else "not a directory"
            raise CheckError(f"{self.path} is {kind}", state="It was left as it is", remedy=f"move {self.path} away")
        lines = access_changes(observed, self.owner, self.group, self.mode)
        return Change(self, "update", lines) if lines else None
