"""A text file with its owner and mode, replaced in one step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource, access, access_changes


@dataclass(frozen=True)
class File(Resource):
    """A text file; its parent directory must exist.

    owner, group: names; empty means "leave as it is" (a new file: whoever runs hubfleet).
    secret:       the content is never shown; its digest is what a manifest keeps.
    returns:      a container reads it at start: what it replaces is kept beside it until that has come up with it, and
                  put back if it does not, see `Container.reads`.
    Observed keys: type (file, symlink, directory, other), owner, group, mode, sha256, unfinished (a copy left
    by an interrupted write), and content: None if secret, private, large or not text.
    """

    kind: ClassVar[str] = "file"

    path: str
    content: str = field(repr=False)
    owner: str = ""
    group: str = ""
    mode: int = 0o644
    secret: bool = False
    returns: bool = False

    @property
    def sha256(self) -> str:
        """Digest of the content, in hexadecimal."""
        return hashlib.sha256(self.content.encode()).hexdigest()

    @property
    def serves(self) -> bool:
        return self.returns

    def redacted(self) -> File:
        return replace(self, content=f"sha256:{self.sha256}") if self.secret else self

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError if a directory is at the path."""
        if observed is None:
            return Change(self, "create", (access(self.owner, self.group, self.mode), *self._lines("")))
        if observed["type"] == "directory":
            raise CheckError(
                f"{self.path} is a directory, and a file is wanted there",
                state="It was left as it is",
                remedy=f"move {self.path} away",
            )
        if observed["type"] != "file":
            return Change(self, "update", (f"a {observed['type']} is replaced by a file", *self._lines("")))
        lines = access_changes(observed, self.owner, self.group, self.mode)
        if observed["sha256"] != self.sha256:
            lines += self._lines(observed["content"])
        if observed["unfinished"]:
            lines += ("a copy left by an interrupted write is removed",)
        return Change(self, "update", lines) if lines else None

    def _lines(self, before: str | None) -> tuple[str, ...]:
        if self.secret:
            return ("content changed (secret, not shown)",)
        if before is None:
            return ("content changed (what is there now is private, large or not text: not shown)",)
        import difflib  # only here: an agent seldom needs it

        diff = difflib.unified_diff(before.splitlines(), self.content.splitlines(), lineterm="", n=2)
        return tuple(diff)[2:] or ("line endings change",)  # without the two lines that name the files
