"""How one home is made: whole or not at all, and given to nobody but its owner."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hubfleet.config.owner import Owner


class HomeFailed(RuntimeError):
    """There is no home to be had. The text is for the person who pressed Start: plain words, no secret."""


def make_home(homes: Path, name: str, owner: Owner | None, skeleton: Path | None) -> Path:
    """The home of a user, made if need be. ``owner`` is None to keep this process's own.

    A home appears complete or not at all: it is filled beside its place and then renamed.
    Raises HomeFailed when the disk is full or the place is taken by something else.
    """
    home = homes / name
    try:
        if home.is_symlink() or (home.exists() and not home.is_dir()):
            raise HomeFailed(f"{home} is not a directory; an administrator has to look at it")
        if home.is_dir():
            there = home.stat().st_uid
            if owner is not None and there != owner.uid:
                what = f"{home} belongs to user id {there}, not {owner.uid}"
                raise HomeFailed(f"{what}; an administrator has to look at it")
            return home
        _make(homes, home, owner, skeleton)
    except shutil.Error as error:  # of the skeleton; it tells of each file
        raise HomeFailed(f"your home directory could not be made: {error.args[0][0][2]}") from error
    except OSError as error:
        raise HomeFailed(f"your home directory could not be made: {error.strerror or error}") from error
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
