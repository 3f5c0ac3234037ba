"""How much each home holds and may hold: project quotas of the XFS file system that they are on.

Each home is a project of its own, by whose number the kernel counts, whoever owns the files in it. Which number is
whose stands in a table beside the homes, on the same file system; no number is given out twice.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hubfleet.errors import CheckError
from hubfleet.homes.projectquota import BLOCK, Accounts, FileSystem, project_of, put_into

TABLE = ".hubfleet-projects"
"""Beside the homes: no home's name begins with a dot."""
FILE_BYTES = 4096
"""A home may hold one file for each so many bytes of its limit: what has any content takes as much. Without that, empty
files could use up the file system."""
FEWEST_FILES = 4096
_APART = 1_000_000  # numbers for each directory of homes, of which a file system may have several
_PLACES = 4000


def lacking(place: Path, table: str, line: str = "") -> str:
    """Why homes there cannot be given limits, and what to do; "" where they can. Pure.

    ``table``: as in /proc/self/mountinfo of its machine. ``line``: what comes before, such as a setting's place.
    """
    on = FileSystem.of(str(place), table)
    if on.limits:
        return ""
    if on.kind == "xfs":
        what = f"{place} is on an XFS file system ({on.point}, {on.source}) that is mounted without project quotas"
        at_boot = " (of /: rootflags=prjquota on the kernel's command line)" if on.point == "/" else ""
        way = f"add the option prjquota in /etc/fstab{at_boot} and mount it anew, or storage: {{homes: {{disk: 500G}}}}"
    else:
        what = f"{place} is on {on.kind or 'no file system that is known'}, which does not count what a home holds"
        way = "storage: {homes: {disk: 500G}}, which makes a file system for homes, or a path on XFS with prjquota"
    return f"{line}{what}. Try: {way}"


class Quotas:
    """Of the directory that holds all homes. Its methods block, and may be called by several threads."""

    def __init__(self, place: Path, accounts: Accounts) -> None:
        self._place = place
        self._accounts = accounts
        self._lock = threading.Lock()

    @classmethod
    def at(cls, place: Path, devices: Path = Path("/dev")) -> Quotas:
        """Raises CheckError where the file system has no project quotas, OSError where there is no such directory.

        ``devices``: where block devices are, for one who is in a container.
        """
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        if problem := lacking(place.resolve(), table):
            what, _, way = problem.partition(". Try: ")
            raise CheckError(what, remedy=way)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # for as long as this process lives
        source = FileSystem.of(str(place.resolve()), table).source
        device = devices / source.removeprefix("/dev/")
        there = device.exists() and device.stat().st_rdev == os.fstat(descriptor).st_dev
        accounts = Accounts(descriptor, str(device) if there else "")
        try:
            accounts.of(_first(place))
        except OSError as error:
            os.close(descriptor)
            what = f"the quotas of {place} cannot be read ({error.strerror})"
            raise CheckError(what, remedy="run it as root, on Linux 5.14 or newer") from error
        return cls(place, accounts)

    def apply(self, home: Path, name: str, limit_bytes: int | None) -> None:
        """Have a home counted, and kept to its limit in bytes; None: counted only. What it has already, stays.

        The first time, all that is in it is gone through. Raises OSError.
        """
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            project = self._counted(descriptor, name)
        finally:
            os.close(descriptor)
        size = None if limit_bytes is None else limit_bytes // BLOCK * BLOCK
        files = None if size is None else max(FEWEST_FILES, size // FILE_BYTES)
        now = self._accounts.of(project)
        if (now and (now.limit, now.most_files)) != (size, files):
            self._accounts.limit(project, size, files)

    def use(self) -> dict[str, tuple[int, int | None]]:
        """By name of each home that is there, how many bytes it holds and may hold. Raises OSError."""
        with self._lock:
            homes = self._read()["homes"]
        found = {}
        for name in sorted(name for name in homes if (self._place / name).is_dir()):
            held = self._accounts.of(homes[name]["project"])
            found[name] = (held.used, held.limit) if held else (0, None)
        return found

    def _counted(self, home: int, name: str) -> int:
        """The project of an open home, to which all in it belongs when this returns."""
        with self._lock:
            table = self._read()
            known = table["homes"].get(name)
            has, inherits = project_of(home)
            if known and known["whole"] and (known["project"], True) == (has, inherits):
                return int(has)
            # One that was set aside took its number along, and what it holds is still counted under that.
            if not known or has not in (0, known["project"]) or (known["whole"] and has == 0):
                known = {"project": self._new(table), "whole": False}
            self._write({**table, "homes": {**table["homes"], name: {**known, "whole": False}}})
        _go_through(home, known["project"])
        with self._lock:
            table = self._read()
            table["homes"][name] = {**known, "whole": True}
            self._write(table)
        return int(known["project"])

    def _new(self, table: dict[str, Any]) -> int:
        """A number that nothing on this file system has, and that is not given out again."""
        number = int(table["next"])
        while self._accounts.of(number) is not None:
            number += 1
        table["next"] = number + 1
        return number

    def _read(self) -> dict[str, Any]:
        try:
            table: dict[str, Any] = json.loads((self._place / TABLE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"next": max(_first(self._place), 1 + max(self._found(), default=0)), "homes": {}}
        return table

    def _found(self) -> Iterator[int]:
        """The numbers that homes have, for a table that was lost."""
        for entry in os.scandir(self._place):
            if entry.is_dir(follow_symlinks=False):
                descriptor = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    yield project_of(descriptor)[0]
                finally:
                    os.close(descriptor)

    def _write(self, table: dict[str, Any]) -> None:
        new = self._place / f"{TABLE}.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(table, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(descriptor)
        new.replace(self._place / TABLE)


class Waiting:
    """`Quotas` of a directory that is looked at when it is needed: its disk may not be mounted yet."""

    def __init__(self, place: Path, devices: Path) -> None:
        self._place, self._devices = place, devices
        self._lock = threading.Lock()
        self._quotas: Quotas | None = None

    def apply(self, home: Path, name: str, limit_bytes: int | None) -> None:
        """See `Quotas.apply`. Raises OSError also where there are no quotas."""
        self._there().apply(home, name, limit_bytes)

    def use(self) -> dict[str, tuple[int, int | None]]:
        """See `Quotas.use`. Raises OSError also where there are no quotas."""
        return self._there().use()

    def _there(self) -> Quotas:
        with self._lock:
            if self._quotas is None:
                try:
                    self._quotas = Quotas.at(self._place, self._devices)
                except CheckError as error:
                    raise OSError(errno.ENOTSUP, str(error)) from error
            return self._quotas


def quotas_of(place: Path, wanted: bool, devices: Path) -> Quotas | Waiting | None:
    """Those of a directory of homes; None where nobody counts.

    Where limits are no longer ``wanted`` but were once, the homes are still counted, so that their limits are lifted.
    """
    if wanted:
        return Waiting(place, devices)
    if not (place / TABLE).exists():
        return None
    try:
        return Quotas.at(place, devices)
    except (CheckError, OSError):
        return None


def _first(place: Path) -> int:
    """Where the numbers of a directory of homes begin: two hubs on one file system keep apart."""
    return (1 + zlib.crc32(os.fsencode(place)) % _PLACES) * _APART


def _go_through(top: int, project: int) -> None:
    """Put all that is in an open directory into a project. A user may be at work in it meanwhile.

    A directory is put before it is listed, so that what comes into it later has the project by itself. Nothing but
    files and directories is opened, no link is followed, and no other file system entered.
    """
    device = os.fstat(top).st_dev
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        way = waiting.pop()
        here = _descend(top, way)
        if here is None:
            continue
        try:
            put_into(here, project)
            for name in os.listdir(here):
                found = _opened(here, name)
                if found is None:
                    continue
                try:
                    kind = os.fstat(found)
                    if kind.st_dev == device and stat.S_ISDIR(kind.st_mode):
                        waiting.append((*way, name))
                    elif kind.st_dev == device:
                        put_into(found, project)
                finally:
                    os.close(found)
        finally:
            os.close(here)


def _descend(top: int, way: tuple[str, ...]) -> int | None:
    """A directory below, opened step by step; None if it has gone since it was listed."""
    here = os.dup(top)
    for name in way:
        inner = _opened(here, name)
        os.close(here)
        if inner is None:
            return None
        here = inner
    if stat.S_ISDIR(os.fstat(here).st_mode):
        return here
    os.close(here)
    return None


def _opened(directory: int, name: str) -> int | None:
    """A file or directory; None for what is neither, or is no longer there."""
    try:
        kind = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            return None
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return None
        raise
