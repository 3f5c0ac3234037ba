"""Reads files, and writes them so that a reader sees the old content or the new, never a half."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from hubfleet.agent.base import Progress, described, give, open_parent
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.file import File

LARGEST_SHOWN = 1024 * 1024
"""Bytes; the content of larger files is not sent back."""


def observe(file: File) -> Observed | None:
    try:
        found = os.lstat(file.path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    observed: Observed = {**described(found), "unfinished": os.path.lexists(_beside(file.path))}
    if observed["type"] == "file":
        observed.update(_content(file, found))
    return observed


def apply(file: File, change: Change, progress: Progress) -> None:
    """A link at the path is replaced, not followed."""
    name, temporary = Path(file.path).name, _beside(file.path).name
    with open_parent(file.path) as parent:
        _unlink(temporary, parent)
        if change.action == "remove":
            _unlink(name, parent)
            _unlink(_before(file.path), parent)
        else:
            _write(file, name, temporary, parent)
        os.fsync(parent)


def _write(file: File, name: str, temporary: str, parent: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o600, dir_fd=parent)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as target:
            target.write(file.content.encode())
        give(descriptor, file.owner, file.group, file.mode, like=_present(name, parent))
        os.fsync(descriptor)
    except BaseException:
        os.unlink(temporary, dir_fd=parent)
        raise
    finally:
        os.close(descriptor)
    if file.returns:
        # Whoever reads it may be several changes behind: the first that was replaced is what it was started with.
        with suppress(FileExistsError, FileNotFoundError):
            os.link(name, _before(file.path), src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)


def settle(path: str) -> None:
    """Forget what the file's content replaced: its reader has come up with it."""
    with open_parent(path) as parent:
        _unlink(_before(path), parent)


def put_back(path: str) -> None:
    """Give the file the content it had when its reader was started, if it has another now."""
    with open_parent(path) as parent, suppress(FileNotFoundError):
        os.rename(_before(path), Path(path).name, src_dir_fd=parent, dst_dir_fd=parent)
        os.fsync(parent)


def _before(path: str) -> str:
    """The name, in the same directory, of what was replaced."""
    return f".{Path(path).name}.hubfleet-before"


def _present(name: str, parent: int) -> os.stat_result | None:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _content(file: File, found: os.stat_result) -> Observed:
    descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as source:
        content = source.read()
    text = None
    # what others may not read is taken for a secret, whatever the new file is
    if not file.secret and found.st_mode & stat.S_IROTH and len(content) <= LARGEST_SHOWN:
        with suppress(UnicodeDecodeError):
            text = content.decode()
    return {"sha256": hashlib.sha256(content).hexdigest(), "content": text}


def _beside(path: str) -> Path:
    """Where the new content is written first; a fixed name, so that a later run clears what a kill left."""
    return Path(path).with_name(f".{Path(path).name}.hubfleet-new")


def _unlink(name: str, parent: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)
