"""Home directories on this machine: made from the skeleton on first start, owned by their user, never removed."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from hubfleet.config.owner import Owner
from hubfleet.launcher.base import StartFailed

HOMES_MARKER = ".hubfleet-homes"
"""A file in the directory of kept homes. Without it the disk is not mounted, and new homes would be lost under it."""


@dataclass(frozen=True)
class Homes:
    """Where a hub's homes are. ``kept``: None if they end with their server, and are below ``state`` until then."""

    kept: Path | None
    state: Path
    skeleton: Path | None

    def of(self, server: str, name: str, owner: Owner | None) -> Path:
        """The home for a server of the user ``name``, made if need be. Raises StartFailed and OSError."""
        if self.kept is None:
            self._passing.mkdir(mode=0o711, exist_ok=True)
            return ensure_home(self._passing, server, owner, self.skeleton)
        if self.kept.is_dir() and not (self.kept / HOMES_MARKER).exists():
            raise StartFailed(f"{self.kept} is not as hubfleet left it: is its disk mounted? If so: hubfleet up")
        return ensure_home(self.kept, name, owner, self.skeleton)

    def forget(self, server: str) -> None:
        """A server has ended: with it ends its home, where homes are not kept."""
        if self.kept is None:
            shutil.rmtree(self._passing / server, ignore_errors=True)

    @property
    def _passing(self) -> Path:
        return self.state / "passing-homes"


def ensure_home(homes: Path, name: str, owner: Owner | None, skeleton: Path | None) -> Path:
    """The home of a user, made if need be. ``owner`` is None to keep the launcher's own.

    A home appears complete or not at all: it is filled beside its place and then renamed.
    Raises StartFailed when the disk is full or the place is taken by something else.
    """
    home = homes / name
    try:
        if home.is_symlink() or (home.exists() and not home.is_dir()):
            raise StartFailed(f"{home} is not a directory; an administrator has to look at it")
        if home.is_dir():
            there = home.stat().st_uid
            if owner is not None and there != owner.uid:
                what = f"{home} belongs to user id {there}, not {owner.uid}"
                raise StartFailed(f"{what}; an administrator has to look at it")
            return home
        _make(homes, home, owner, skeleton)
    except OSError as error:
        raise StartFailed(f"your home directory could not be made: {error.strerror or error}") from error
    return home


def _make(homes: Path, home: Path, owner: Owner | None, skeleton: Path | None) -> None:
    new = homes / f".new-{home.name}"
    if new.exists():
        shutil.rmtree(new)  # left by an interrupted attempt; nobody has ever used it
    try:
        if skeleton is not None:
            shutil.copytree(skeleton, new, symlinks=True)
        else:
            new.mkdir()
        new.chmod(0o700)
        if owner is not None:
            for directory, folders, files in os.walk(new):
                for entry in (directory, *(os.path.join(directory, name) for name in (*folders, *files))):
                    os.chown(entry, owner.uid, owner.gid, follow_symlinks=False)
        new.rename(home)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
