"""Deletes a directory with all that is in it: follows no link, and deletes nothing that is mounted in it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

from hubfleet.errors import ApplyError, CheckError


def measure(path: str) -> dict[str, Any] | None:
    """How many directories it has that are not hidden, and how many bytes it takes in all; None if it is not there.

    owner:   its user id.
    link:    whether it is a link (nothing of what it leads to is counted), or leads by one.
    mounted: what is mounted on it or in it.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISDIR(found.st_mode):
        return {"directories": 0, "bytes": 0, "owner": found.st_uid, "link": stat.S_ISLNK(found.st_mode), "mounted": []}
    with os.scandir(path) as entries:
        count = sum(entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") for entry in entries)
    size = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                size += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    linked = os.path.realpath(path) != os.path.abspath(path)
    return {"directories": count, "bytes": size, "owner": found.st_uid, "link": linked, "mounted": _mounted(path)}


def erase(path: str) -> None:
    """What is gone is success. A directory that something is mounted on is emptied and stays.

    Raises CheckError, with nothing deleted, for a path that leads by a link, or where something is mounted inside;
    ApplyError with what could not be deleted.
    """
    if os.path.realpath(path) != os.path.abspath(path):
        raise CheckError(f"{path} is a link, or leads by one", state="Nothing of it was deleted")
    if not os.path.lexists(path):
        return
    mounted = _mounted(path)
    inner = [place for place in mounted if place != path]
    if inner:
        raise CheckError(
            f"something is mounted in {path}: {', '.join(inner)}",
            state="Nothing of it was deleted",
            remedy="umount it, then the same command again",
        )
    # a mount point itself cannot go; what is in it does
    doomed = [str(entry) for entry in Path(path).iterdir()] if path in mounted else [path]
    for entry in doomed:
        command = ["rm", "-rf", "--one-file-system", "--", entry]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:]
            raise ApplyError(f"{entry} could not be deleted: {' '.join(last)}", remedy="the same command again")


def _mounted(path: str) -> list[str]:
    """Where something is mounted, at the path and below it."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        fields = [line.split()[4] for line in file]
    places = {re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), field) for field in fields}
    return sorted(place for place in places if place == path or place.startswith(f"{path}/"))
