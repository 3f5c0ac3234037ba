"""Keep log files small without the writer noticing.

Every process appends to its own file. Files past their limit are copied to ``<name>.1`` and emptied in place, which
works for any program that appends, survives restarts of whoever rotates, and needs no pipe that could break.
"""

from __future__ import annotations

import os
from pathlib import Path

from hubfleet.privatefiles import private

LIMIT_BYTES = 5 * 1024 * 1024
KEEP = 3


def open_log(path: Path) -> int:
    """A descriptor for a process's output: appends, and only the owner may read it. The caller closes it."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def rotate(path: Path, limit: int = LIMIT_BYTES, keep: int = KEEP) -> bool:
    """Rotate one file if it is larger than ``limit`` bytes; True if it was.

    Lines written between copy and emptying are lost; a full disk costs the old lines, not the service.
    """
    try:
        if path.stat().st_size <= limit:
            return False
    except FileNotFoundError:
        return False
    for number in range(keep - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            os.replace(older, path.with_name(f"{path.name}.{number + 1}"))
    copy = path.with_name(f"{path.name}.1")
    try:
        with open(path, "rb") as source, open(copy, "wb", opener=private) as target:
            source.seek(-limit, os.SEEK_END)  # a runaway writer may have made far more than is worth keeping
            target.write(source.read(limit))  # and no more, or a fast writer would keep us copying for ever
    except OSError:
        copy.unlink(missing_ok=True)
    os.truncate(path, 0)
    return True


def rotate_all(directory: Path, limit: int = LIMIT_BYTES, keep: int = KEEP) -> None:
    """Rotate every ``*.log`` below a directory."""
    for path in directory.rglob("*.log"):
        rotate(path, limit, keep)


def tail(path: Path, lines: int, end: int | None = None) -> list[str]:
    """The last lines of a file (of its first ``end`` bytes), without reading more than it takes; [] without a file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END) if end is None else end
            start = file.seek(max(0, size - lines * 400))
            return file.read(size - start).decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
