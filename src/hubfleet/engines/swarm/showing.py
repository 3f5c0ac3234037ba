"""Whether what a machine shows a server is what the server was to be shown. Pure.

The launcher sees the hub's machine only. So a server's first program tells it at its `doors` what is mounted at its
places, by the kernel's own table.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hubfleet.launcher.base import StartFailed

_ELSEWHERE = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs"),
    *("lustre", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "smb3", "virtiofs"),
)
"""Kinds of file systems whose files are on no disk of the machine's own; with these those of FUSE."""
_KERNELS = (
    *("bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs"),
    *("efivarfs", "mqueue", "proc", "pstore", "securityfs", "sysfs", "tracefs"),
)
_SIGNS = (("proc", "sys", "dev"), ("docker.sock",), ("lib", "log", "spool"), ("grub",))
"""What /, /run, /var and /boot have in them: each may be a file system of its own."""


@dataclass(frozen=True)
class Bind:
    """A directory that every machine has, and where it is inside.

    ``below``: where a file system has to be mounted for it, see ``Effective.must_be_mounted``. ``optional``: a server
    does without it when it is missing. ``judged``: it is to be what its path says, see `problem`.
    """

    source: str
    target: str
    writable: bool
    below: Sequence[str] = ()
    optional: bool = False
    judged: bool = True


class Unfit(StartFailed):
    """A machine has something else than what is to be shown at a place inside. ``place``: which; "" for one that no
    server does without."""

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(problem)
        self.place = place


def needed(path: str, must_be_mounted: Iterable[str]) -> tuple[str, ...]:
    """Where file systems have to be mounted for a directory of the machine."""
    return tuple(place for place in must_be_mounted if f"{path}/".startswith(f"{place}/"))


def judge(binds: Iterable[Bind], found: Mapping[str, Any]) -> None:
    """Raises Unfit for the first that is not what it is to be. ``found``: by place inside, see `problem`."""
    for bind in binds:
        if not bind.judged:
            continue
        place = bind.target if bind.optional else ""
        if missing := _unmounted(bind, found.get(bind.target)):
            raise Unfit(missing)
        if why := problem(bind, found.get(bind.target)):
            raise Unfit(why, place)


def _unmounted(bind: Bind, found: Mapping[str, Any] | None) -> str:
    """Why it is not on the file system that it should be on, or ""."""
    for place in bind.below if found and not _elsewhere(found) else ():
        here = posixpath.basename(place) + bind.source[len(place) :]
        if found and (found["type"] == "autofs" or _ends(found["root"], here)):
            what = f"{place} is not mounted there, and files would be on the machine's own disk"
            return f"{what}. An administrator has to mount it"
    return ""


def problem(bind: Bind, found: Mapping[str, Any] | None) -> str:
    """Why a server must not be shown this; "" when it may be.

    ``found``: what its first program says of the place, see ``singleuser/enter.py``; None when it is in no table.

    The kernel says where in its file system a directory is, not where that is mounted. So the path that was asked for
    has as many of its last parts in common with that as lie below the place of the mount: with none, a link has led
    elsewhere, or it is the root of a file system, and lies where that is mounted. With a place that must be mounted,
    and all below it, in common, nothing is mounted there.
    """
    if found is None:
        return f"{bind.source} is not there to be shown"
    if _elsewhere(found):
        return ""
    if found["type"] in _KERNELS or (found["top"] and any(set(signs) <= set(found["has"]) for signs in _SIGNS)):
        return f"{bind.source} leads to the machine's own files, which users must not see"
    if not found["top"] and not _ends(found["root"], posixpath.basename(bind.source)):
        what = f"{bind.source} leads to another directory ({found['root']} on its disk)"
        return f"{what}. An administrator has to name in the file what it leads to, or take the link away"
    return ""


def _elsewhere(found: Mapping[str, Any]) -> bool:
    kind = str(found["type"])
    return kind in _ELSEWHERE or kind.startswith("fuse.")


def _ends(path: str, end: str) -> bool:
    return f"/{path}".endswith(f"/{end}")
