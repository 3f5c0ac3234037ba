"""How much room there is in a home, and the words for when there is none.

On XFS with project quotas a home's directory answers for the home alone: what it may hold, and what is left of that.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass

LIMITED = "HUBFLEET_HOME_LIMIT"
"""In the environment of a server whose home has a limit of its own."""
LITTLE = 1024**2
"""With less than so many bytes left, a server is started as one whose home is full."""
PAGE = "hubfleet/room"
"""Of a server's addresses, where one makes room."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Room:
    """Bytes in all and left, where a path is. ``own``: that is a limit of the home, and nobody else's files count.

    ``step``: it is told in so many bytes at a time, and rounded up. That is little on a disk, and up to 1 MB by NFS.
    """

    total: int
    left: int
    own: bool
    step: int

    @classmethod
    def at(cls, path: str) -> Room:
        """Raises OSError."""
        found, home = os.statvfs(path), home_directory()
        own = LIMITED in os.environ and os.stat(path).st_dev == os.stat(home).st_dev
        return cls(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, own, found.f_frsize)

    @property
    def full(self) -> bool:
        """Whether there may be next to no room."""
        return self.left - self.step < LITTLE

    def __str__(self) -> str:
        used = amount(self.total - self.left)
        return f"{used} of {amount(self.total)} are in use" if self.own else f"{amount(self.left)} are free"


def home_directory() -> str:
    """The user's own."""
    return os.path.expanduser("~")


def is_full(path: str) -> bool:
    """Whether there is next to no room. One that cannot be asked is not called full."""
    try:
        return Room.at(path).full
    except OSError:
        return False


def lacks_room(error: BaseException | None) -> bool:
    """Whether something failed for want of room: of the disk, or of what one may have of it."""
    return _cause(error) is not None


def _cause(error: BaseException | None) -> int | None:
    """The number of what failed for want of room; None for anything else.

    What failed while the rest was cleared away hides the cause, and has it as its context.
    """
    while error is not None:
        if isinstance(error, sqlite3.OperationalError) and "disk is full" in str(error):
            return errno.ENOSPC
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def words(path: str, happened: str, error: BaseException) -> str:
    """For the person at the browser: what ``happened``, why, and the way out."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    room = Room.at(path)
    full = "is full" if room.full else "has too little room left"
    if room.own:
        why = f"Your home {full} ({room})"
    elif _cause(error) == errno.EDQUOT:
        why = f"You may keep no more in {path}"
    elif os.stat(path).st_dev == os.stat(home_directory()).st_dev:
        why = f"The disk that your home is on {full}"
    else:
        why = f"The disk at {path} {full}"
    prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "/")
    return f"{why}. {happened}. To make room, open {prefix}{PAGE} in your browser, then try again."


def amount(size: int) -> str:
    """For people, in the units that limits are written in."""
    for unit, factor in (("GB", 1024**3), ("MB", 1024**2), ("kB", 1024)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
