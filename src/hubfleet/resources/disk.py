"""A file with an XFS file system that counts by project, mounted where homes are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource

SLACK = 1024**2
"""XFS leaves a rest of its device unused that is too small for a group of blocks."""
_SHOWN = 5


@dataclass(frozen=True)
class Disk(Resource):
    """A file system in a file. It grows, and is never made smaller: a larger one is as wanted, for a generation that is
    gone back to had what was enough then. It is removed only where `doomed` says so.

    path:   the directory where it is mounted, by the machine itself too when it starts; made if need be.
    file:   what it lies in, without the room that nobody uses. Its directory must exist.
    size:   in bytes.
    mode:   of the directory, which is root's.
    doomed: its removal is wanted, with all that is in it.
    Absent: neither there, nor anything in the directory. Observed keys: file (its size in bytes, or None), mounted
    (whether that is what is mounted there), other (what else is mounted there), counts (projects are limited on it),
    room (bytes of the file system), holds (names of what lies in the directory while nothing is mounted), boot (it
    will be mounted when the machine starts), tools (xfsprogs is installed).
    """

    kind: ClassVar[str] = "disk"
    removable: ClassVar[bool] = False

    path: str
    file: str
    size: int
    mode: int = 0o711
    doomed: bool = False

    def removal(self, observed: Observed | None) -> Change | None:
        if observed is None or not self.doomed:
            return None
        return Change(self, "remove", (f"{self.file}, with all that is in it",))

    def end(self) -> Disk:
        """This, to be removed."""
        return replace(self, doomed=True)

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError where something would be hidden, or is in the way."""
        tools = () if observed and observed["tools"] else ("xfsprogs is installed, where it is missing",)
        if observed is None:
            return Change(self, "create", (*self._made(), *tools))
        if observed["other"]:
            raise CheckError(
                f"{observed['other']} is mounted at {self.path}",
                state="It was left as it is",
                remedy="remove storage.homes.disk (quotas need XFS with prjquota there), or another storage.homes.path",
            )
        if observed["holds"]:
            raise CheckError(self._hidden(observed["holds"]), state="It was left as it is", remedy=self._aside())
        if observed["file"] is None:
            return Change(self, "create", (*self._made(), *tools))
        if observed["mounted"] and not observed["counts"]:
            raise CheckError(
                f"{self.path} is mounted without project quotas",
                state="It was left as it is",
                remedy=f"hubfleet down, umount {self.path}, hubfleet up",
            )
        lines = self._differs(observed)
        return Change(self, "update", lines) if lines else None

    def _differs(self, observed: Observed) -> tuple[str, ...]:
        lines = [] if observed["mounted"] else [f"{self.file} is mounted at {self.path}"]
        size = max(self.size, observed["file"])
        if observed["file"] < size or (observed["mounted"] and observed["room"] < size - SLACK):
            lines.append(f"{_amount(observed['file'])} -> {_amount(size)}")
        return (*lines, *(() if observed["boot"] else ("mounted when the machine starts",)))

    def _made(self) -> tuple[str, ...]:
        return (f"{self.file}: XFS of {_amount(self.size)} with project quotas, taking the room that files need",)

    def _hidden(self, names: list[str]) -> str:
        more = ", ..." if len(names) > _SHOWN else ""
        return f"{self.path} holds {', '.join(names[:_SHOWN])}{more}, which would be hidden under the new file system"

    def _aside(self) -> str:
        aside = f"{self.path}.before"
        return (
            f"hubfleet down; mv {self.path} {aside}; hubfleet up; hubfleet down; "
            f"cp -a {aside}/. {self.path}/; hubfleet up; and rm -r {aside} when all is there"
        )


def _amount(size: int) -> str:
    """As in the file: 500G."""
    for unit, factor in (("T", 1024**4), ("G", 1024**3), ("M", 1024**2)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
