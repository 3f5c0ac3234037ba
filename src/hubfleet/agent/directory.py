"""Reads and makes directories."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hubfleet.agent.base import Progress, described, give, open_parent
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.directory import Directory


def observe(directory: Directory) -> Observed | None:
    try:
        found = os.lstat(directory.path)
        if stat.S_ISLNK(found.st_mode) and found.st_uid in (0, os.geteuid()):
            found = Path(directory.path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return described(found)


def apply(directory: Directory, change: Change, progress: Progress) -> None:
    """Parents are never made."""
    with open_parent(directory.path) as parent:
        name = Path(directory.path).name
        if change.action == "create":
            os.mkdir(name, 0o700, dir_fd=parent)
        # a link is followed only where nobody else could have put it since it was looked at
        holder = os.fstat(parent)
        ours = holder.st_uid in (0, os.geteuid()) and not holder.st_mode & 0o022
        follow = 0 if ours and change.action == "update" else os.O_NOFOLLOW
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | follow, dir_fd=parent)
        try:
            give(descriptor, directory.owner, directory.group, directory.mode)
        finally:
            os.close(descriptor)
