"""What a kind's handler is, and the little that handlers share."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed, Resource

Progress = Callable[[str], None]
"""Takes one line for people at a time."""

Kind = TypeVar("Kind", bound=Resource)


@dataclass(frozen=True)
class Handler(Generic[Kind]):
    """How one kind of resource is read and changed on this machine.

    observe: what is there now (keys: see the resource), or None; changes nothing.
    apply:   carries out a change. Must be safe to kill at any moment: `observe` sees what is left to do.
    """

    observe: Callable[[Kind], Observed | None]
    apply: Callable[[Kind, Change, Progress], None]


def described(found: os.stat_result) -> Observed:
    """Type (file, directory, symlink or other), owner, group and mode."""
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
    return {
        "type": kinds.get(stat.S_IFMT(found.st_mode), "other"),
        "owner": _name(lambda: pwd.getpwuid(found.st_uid).pw_name, found.st_uid),
        "group": _name(lambda: grp.getgrgid(found.st_gid).gr_name, found.st_gid),
        "mode": stat.S_IMODE(found.st_mode),
    }


def _name(look: Callable[[], str], number: int) -> str:
    """The name of an account or a group; its number in digits if it has none."""
    try:
        return look()
    except KeyError:
        return str(number)


def give(descriptor: int, owner: str, group: str, mode: int, like: os.stat_result | None = None) -> None:
    """Sets owner, group and mode of an open file or directory.

    An empty owner or group means that of `like`, or else the present one.
    Raises ApplyError for unknown names and OSError if not permitted.
    """
    now = os.fstat(descriptor)
    kept = like or now
    try:
        uid = pwd.getpwnam(owner).pw_uid if owner else kept.st_uid
        gid = grp.getgrnam(group).gr_gid if group else kept.st_gid
    except KeyError as error:
        raise ApplyError(str(error.args[0])) from error
    if (uid, gid) != (now.st_uid, now.st_gid):
        os.fchown(descriptor, uid, gid)
    os.fchmod(descriptor, mode)


@contextmanager
def open_parent(path: str) -> Iterator[int]:
    """A descriptor of the directory that holds `path`, which must exist."""
    parent = Path(path).parent
    try:
        descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ApplyError(f"the directory {parent} does not exist", where=path) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
