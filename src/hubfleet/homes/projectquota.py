"""The kernel's part of project quotas on XFS: which project a file belongs to, and how much a project may hold.

The system calls themselves, and not xfsprogs' command: what they answer is a number and no table for people, an
interrupted one leaves no half line, and the hub's image needs no further package.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

INHERIT = 0x200
"""Of a directory: what is made in it belongs to its project too."""
BLOCK = 512
"""Bytes of what the kernel counts in."""

_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820  # FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR
_ATTRIBUTES = struct.Struct("=5I8x")  # flags, hints, extents, project, more hints
_QUOTA = struct.Struct("=bbHIQQQQQQiiHHbbbbQQQiHh8x")  # struct fs_disk_quota
_GET, _SET = ((ord("X") << 8) + 3 << 8) | 2, ((ord("X") << 8) + 4 << 8) | 2  # of projects
_QUOTACTL_FD = 443  # of Linux, on every processor
_HARD_FILES, _HARD_BYTES, _SOFT_FILES, _SOFT_BYTES = 2, 8, 1, 4

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Held:
    """What a project holds and may hold, in bytes and files; None for no limit."""

    used: int
    limit: int | None
    files: int
    most_files: int | None


def project_of(descriptor: int) -> tuple[int, bool]:
    """The project of an open file or directory, and whether what is made in it gets the same. Raises OSError."""
    flags, _, _, project, _ = _attributes(descriptor)
    return project, bool(flags & INHERIT)


def put_into(descriptor: int, project: int) -> None:
    """Have an open file or directory belong to a project; of a directory, all that will be made in it too.

    Raises OSError.
    """
    flags, hint, extents, had, more = _attributes(descriptor)
    directory = os.path.isdir(f"/proc/self/fd/{descriptor}")
    wanted = flags | INHERIT if directory else flags
    if (had, flags) != (project, wanted):
        fcntl.ioctl(descriptor, _SET_ATTRIBUTES, _ATTRIBUTES.pack(wanted, hint, extents, project, more))


def _attributes(descriptor: int) -> tuple[int, ...]:
    answer = fcntl.ioctl(descriptor, _GET_ATTRIBUTES, bytes(_ATTRIBUTES.size))
    return _ATTRIBUTES.unpack(answer)


class Accounts:
    """The kernel's accounts of the projects on one file system.

    ``descriptor``: of a directory on it. ``device``: path of its block device, for kernels before 5.14, or engines that
    do not let the newer call through.
    """

    def __init__(self, descriptor: int, device: str) -> None:
        self._descriptor = descriptor
        self._device = device

    def of(self, project: int) -> Held | None:
        """None for one that holds nothing and has no limit. Raises OSError."""
        room = ctypes.create_string_buffer(_QUOTA.size)
        try:
            self._call(_GET, project, room)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        found = _QUOTA.unpack(room.raw)
        size, most, used, files = found[4], found[6], found[8], found[9]
        return Held(used * BLOCK, size * BLOCK or None, files, most or None)

    def limit(self, project: int, size: int | None, files: int | None) -> None:
        """Set the most that it may hold, in bytes and files; None for no limit. Raises OSError."""
        wanted = _QUOTA.pack(
            *(1, 2, _HARD_FILES | _HARD_BYTES | _SOFT_FILES | _SOFT_BYTES, project),
            *((size or 0) // BLOCK, 0, files or 0, 0),
            *(0,) * 16,
        )
        self._call(_SET, project, ctypes.create_string_buffer(wanted, _QUOTA.size))

    def _call(self, command: int, project: int, room: ctypes.Array[ctypes.c_char]) -> None:
        what = ctypes.c_uint(command), ctypes.c_uint(project)
        if _libc.syscall(ctypes.c_long(_QUOTACTL_FD), ctypes.c_uint(self._descriptor), *what, room) == 0:
            return
        number = ctypes.get_errno()
        # An engine that does not know the call may forbid it instead of not having it.
        if number in (errno.ENOSYS, errno.EPERM) and self._device:
            if _libc.quotactl(what[0], os.fsencode(self._device), what[1], room) == 0:
                return
            number = ctypes.get_errno()
        raise OSError(number, f"the quota of project {project}: {os.strerror(number)}")


@dataclass(frozen=True)
class FileSystem:
    """What a path is on, by a table such as /proc/self/mountinfo."""

    point: str
    kind: str
    source: str
    options: frozenset[str]

    @classmethod
    def of(cls, path: str, table: str) -> FileSystem:
        """The innermost one that holds the path."""
        found = cls("/", "", "", frozenset())
        for one in _lines(table):
            if (path == one.point or path.startswith(f"{one.point.rstrip('/')}/")) and len(one.point) >= len(
                found.point
            ):
                found = one
        return found

    @property
    def limits(self) -> bool:
        """Whether projects are counted on it, and kept to their limits."""
        return self.kind == "xfs" and bool(self.options & {"prjquota", "pquota"})


def _lines(table: str) -> Iterator[FileSystem]:
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        kind, source, options = after.split()[:3]
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split()[4])
        yield FileSystem(point, kind, source, frozenset(options.split(",")))
