"""Files that only their owner can read, replaced in one step: a crash or a full disk leaves the old content or the new.

Standard library only, and importable on Python 3.9: this file also runs on remote machines.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Replace a file. Root leaves it to whom it belonged. Raises OSError, with the old file intact."""
    import tempfile  # only here: an agent that is to look only does not need it

    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp gives mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if path.exists() and os.geteuid() == 0:
                os.fchown(file.fileno(), path.stat().st_uid, path.stat().st_gid)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def private(path: str, flags: int) -> int:
    """The opener of a file that, if it is made, only its owner can read."""
    return os.open(path, flags, 0o600)


def sync_directory(path: Path) -> None:
    """Have the names in a directory reach the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
