"""Keep log files small without the writer noticing.

Every process appends to its own file. Files past their limit are copied to ``<name>.1`` and emptied in place, which
works for any program that appends, survives restarts of whoever rotates, and needs no pipe that could break.
"""

from __future__ import annotations

import os
from pathlib import Path

LIMIT_BYTES = 5 * 1024 * 1024
KEEP = 3


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
        with open(path, "rb") as source, open(copy, "wb", opener=_private) as target:
            source.seek(-limit, os.SEEK_END)  # a runaway writer may have made far more than is worth keeping
            target.write(source.read(limit))  # and may write faster than it is read
    except OSError:
        copy.unlink(missing_ok=True)
    os.truncate(path, 0)
    return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def rotate_all(directory: Path, limit: int = LIMIT_BYTES, keep: int = KEEP) -> None:
    """Rotate every ``*.log`` below a directory."""
    for path in directory.rglob("*.log"):
        rotate(path, limit, keep)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file, without reading more than it takes; [] when there is no file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - lines * 400))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
