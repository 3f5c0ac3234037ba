"""What takes room in a home, and how to be rid of it. Done with the user's own rights; no link is followed."""

from __future__ import annotations

import heapq
import os
import shutil
import stat
import time
from collections.abc import Iterator

SHOWN = 20
LEAST = 1024**2
"""Smaller files are not shown."""
LOOK_LIMIT_S = 5.0


def trash_directory(home: str) -> str:
    """Where JupyterLab moves what is deleted in the home."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    return os.path.join(data, "Trash")


def in_trash(home: str) -> tuple[int, int]:
    """How many things are in the trash, and how many bytes they take."""
    kept = os.path.join(trash_directory(home), "files")
    count = len(os.listdir(kept)) if os.path.isdir(kept) else 0
    return count, sum(size for size, _ in _files(trash_directory(home), time.monotonic() + LOOK_LIMIT_S))


def empty_trash(home: str) -> None:
    """Delete all that is in the trash. No link is followed. Raises OSError."""
    trash = trash_directory(home)
    if os.path.islink(trash):
        raise OSError(f"{trash} is a link to another place")
    for part in ("files", "info", "expunged"):
        place = os.path.join(trash, part)
        for entry in os.scandir(place) if os.path.isdir(place) and not os.path.islink(place) else ():
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


def largest(home: str) -> list[tuple[int, str]]:
    """The largest files of the home, as bytes on the disk and path in the home; the trash is not among them."""
    end = time.monotonic() + LOOK_LIMIT_S
    trash = f"{trash_directory(home)}{os.sep}"
    # What has no characters to be shown by is left to a terminal.
    large = ((size, path) for size, path in _files(home, end) if size >= LEAST and path.isprintable())
    found = (one for one in large if not one[1].startswith(trash))
    return [(size, os.path.relpath(path, home)) for size, path in heapq.nlargest(SHOWN, found)]


def delete(home: str, path: str) -> None:
    """Delete a file of the home for good. Raises OSError for anything else."""
    home = os.path.realpath(home)
    folder, name = os.path.split(os.path.join(home, path))
    target = os.path.join(os.path.realpath(folder), name)
    if not target.startswith(f"{home}{os.sep}") or not stat.S_ISREG(os.lstat(target).st_mode):
        raise OSError(f"{path} is not a file of this home")
    os.unlink(target)


def _files(top: str, end: float) -> Iterator[tuple[int, str]]:
    """Bytes on the disk and path of each file below, on this file system, as far as there is time."""
    try:
        device = os.lstat(top).st_dev
    except OSError:
        return
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if _device(os.path.join(folder, name)) == device]
        for name in names:
            path = os.path.join(folder, name)
            try:
                found = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode):
                yield found.st_blocks * 512, path
        if time.monotonic() > end:
            return


def _device(path: str) -> int:
    try:
        return os.lstat(path).st_dev
    except OSError:
        return -1
