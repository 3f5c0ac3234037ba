"""Keeps the homes below one directory: makes them, says whose they are and how much is in them, puts them away.

All of it may take long, where a file system does; it is called in threads.
"""

from __future__ import annotations

import logging
import os
import re
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from hubfleet.config.owner import Owner, usable
from hubfleet.homes import ARCHIVED, HOMES_MARKER
from hubfleet.homes.archive import archived
from hubfleet.homes.making import HomeFailed, make_home
from hubfleet.homes.settings import Limits
from hubfleet.homes.told import Told

log = logging.getLogger("hubfleet.homes")

NAME = re.compile(r"[a-z][a-z0-9_-]{0,29}")
"""What homes are called: `names.system_name` makes no others."""
COUNT_LIMIT_S = 20.0
"""How long is counted what is in homes, where the file system does not count."""
_BLOCK = 512


class BadName(ValueError):
    """That is no home's name."""


class NoHome(HomeFailed):
    """Nobody has a home of that name."""


class Quotas(Protocol):
    """What a file system counts, and holds people to."""

    def apply(self, home: Path, name: str, limit: int | None) -> None:
        """Have a home counted, and held to a limit in bytes. Raises OSError."""

    def use(self) -> dict[str, tuple[int, int | None]]:
        """By home, bytes that are used and the limit. Raises OSError."""


@dataclass(frozen=True)
class Home:
    """One home. ``used``, ``limit``: bytes; None where nobody counts, or there is none.

    ``inode``: by which it is known from other machines.
    """

    name: str
    path: Path
    uid: int
    gid: int
    inode: int
    used: int | None = None
    limit: int | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Home:
        return cls(**{**data, "path": Path(data["path"])})

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "path": str(self.path)}


@dataclass(frozen=True)
class Archive:
    """A home that was put away: ``tar``, an archive of it, and where it was ``moved`` to. ``size``: of the archive."""

    name: str
    tar: Path
    moved: Path
    size: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Archive:
        return cls(data["name"], Path(data["tar"]), Path(data["moved"]), data["size"])

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "tar": str(self.tar), "moved": str(self.moved), "size": self.size}


class Keeper:
    """The homes below ``place``. ``minimum``: nobody owns one by an id below. ``quotas``: None where nobody counts."""

    def __init__(
        self,
        place: Path,
        skeleton: Path | None = None,
        quotas: Quotas | None = None,
        limits: Limits | None = None,
        minimum: int = 1,
    ) -> None:
        self.place = place
        self._skeleton, self._quotas, self._limits, self._minimum = skeleton, quotas, limits or Limits(), minimum
        self._told = Told(place)
        self._locks: dict[str, threading.Lock] = {}
        self._archiving: set[str] = set()

    def ensure(self, name: str, owner: Owner | None, group: str | None = None) -> Home:
        """The home of that name, made if need be. ``owner``: None where people have no ids of their own.

        ``group``: the one whose limit is the home's, by the provider or the hub; None: what the file says of it.
        Raises HomeFailed for one that belongs to somebody else, and BadName for what is no name.
        """
        self._check(name)
        for number in (owner.uid, owner.gid) if owner else ():
            if not usable(number, self._minimum):
                raise HomeFailed(f"nobody's files may belong to id {number}; an administrator has to look at it")
        with self._only(name):
            self._free(name)
            path = make_home(self.place, name, owner, self._skeleton)
            self._hold(name, path, group)
        return self.home(name)

    def home(self, name: str) -> Home:
        """One that is there. Raises NoHome and BadName."""
        self._check(name)
        found = _home(self.place / name)
        if found is None:
            raise NoHome(f"there is no home {self.place / name}")
        return self._counted([found])[0]

    def report(self) -> list[Home]:
        """All homes, by name. Where the file system does not count, as many are counted as there is time for."""
        self._mounted()
        found = [home for entry in sorted(os.listdir(self.place)) if (home := self._of(entry)) is not None]
        if self._quotas is not None:
            return self._counted(found)
        end = time.monotonic() + COUNT_LIMIT_S
        return [replace(home, used=_amount(home.path, end)) for home in found]

    def hold_all(self) -> None:
        """Have limits that have changed be in force for the homes that are there."""
        if self._quotas is None or not self.place.is_dir():
            return
        for entry in sorted(os.listdir(self.place)):
            if (home := self._of(entry)) is not None:
                try:
                    with self._only(home.name):  # its group is what was told last, though that be just now
                        self._hold(home.name, home.path, self._told.of(home.name))
                except HomeFailed as problem:
                    log.error("%s: %s", home.name, problem)

    def archive(self, name: str) -> Archive:
        """Put a home away: its owner gets a new one at the next start. It is moved once its archive is whole.

        Raises HomeFailed, with the home as it was, NoHome and BadName.
        """
        self._check(name)
        with self._only(name):
            self._free(name)
            self._archiving.add(name)
        try:
            home = self.home(name)
            tar, moved = archived(home.path, self.place / ARCHIVED)
            return Archive(name, tar, moved, tar.stat().st_size)
        except (OSError, tarfile.TarError) as error:
            why = getattr(error, "strerror", None) or error
            raise HomeFailed(f"{self.place / name} could not be archived ({why}); it was left as it is") from error
        finally:
            self._archiving.discard(name)

    def _only(self, name: str) -> threading.Lock:
        return self._locks.setdefault(name, threading.Lock())

    def _free(self, name: str) -> None:
        if name in self._archiving:
            raise HomeFailed("your home directory is being archived. Please ask an administrator")

    def _check(self, name: str) -> None:
        if NAME.fullmatch(name) is None:
            raise BadName(f"{name!r} is not the name of a home")
        self._mounted()

    def _mounted(self) -> None:
        if self.place.is_dir() and not (self.place / HOMES_MARKER).exists():
            raise HomeFailed(f"{self.place} is not as hubfleet left it: is its disk mounted? If so: hubfleet up")

    def _of(self, entry: str) -> Home | None:
        return _home(self.place / entry) if NAME.fullmatch(entry) else None

    def _hold(self, name: str, path: Path, group: str | None) -> None:
        if self._quotas is None:
            return
        try:
            self._told.keep(name, group if group in self._limits.groups else None)
            self._quotas.apply(path, name, self._limits.of(name, group))
        except OSError as error:
            why = error.strerror or error
            raise HomeFailed(f"no limit could be set to {path} ({why}); an administrator has to look at it") from error

    def _counted(self, homes: list[Home]) -> list[Home]:
        if self._quotas is None:
            return homes
        try:
            use = self._quotas.use()
        except OSError as error:
            log.error("what is in homes is not known: %s", error)
            return homes
        known = {home.name: use.get(home.name, (None, None)) for home in homes}
        return [replace(home, used=known[home.name][0], limit=known[home.name][1]) for home in homes]


def _home(path: Path) -> Home | None:
    try:
        found = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    is_home = path.is_dir() and not path.is_symlink()
    return Home(path.name, path, found.st_uid, found.st_gid, found.st_ino) if is_home else None


def _amount(home: Path, end: float) -> int | None:
    """Bytes on the disk; None when that takes longer than until ``end``."""
    total = 0
    for entry in _entries(home):
        if time.monotonic() > end:
            return None
        try:
            found = os.lstat(entry)
        except OSError:  # gone meanwhile
            continue
        total += found.st_blocks * _BLOCK // found.st_nlink if found.st_nlink else 0
    return total


def _entries(home: Path) -> Iterator[str]:
    for here, folders, files in os.walk(home):
        yield here
        # A link to a directory is among the folders, and is not entered.
        yield from (os.path.join(here, name) for name in files)
        yield from (os.path.join(here, name) for name in folders if os.path.islink(os.path.join(here, name)))
