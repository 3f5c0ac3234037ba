"""Reads and makes directories that new homes are copied from: whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hubfleet.agent.base import Progress, described, open_parent
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.skeleton import Entry, Skeleton


def observe(skeleton: Skeleton) -> Observed | None:
    try:
        found = os.lstat(skeleton.path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return {"type": described(found)["type"]}


def apply(skeleton: Skeleton, change: Change, progress: Progress) -> None:
    """It is made beside its place, which only root may enter, and renamed; it goes in the same way."""
    place = Path(skeleton.path)
    beside = place.with_name(f".{place.name}.hubfleet-new")
    with open_parent(skeleton.path) as parent:
        shutil.rmtree(beside, ignore_errors=True)
        if change.action == "remove":
            place.rename(beside)
            shutil.rmtree(beside)
            return
        beside.mkdir(mode=0o700)
        made = list(skeleton.entries())
        for name, entry in made:
            _make(beside, name, entry)
        for name, entry in reversed(made):  # one that may not be written to is filled by now
            if entry.directory:
                (beside / name).chmod(entry.mode)
        beside.rename(place)
        os.fsync(parent)


def _make(folder: Path, name: str, entry: Entry) -> None:
    if name.startswith("/") or ".." in name.split("/"):
        raise ApplyError(f"{name} would not be inside")
    target = folder / name
    if entry.directory:
        target.mkdir(mode=0o700)
    elif entry.link:
        target.symlink_to(entry.link)
    else:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(entry.content)
            os.fchmod(descriptor, entry.mode)
            os.fsync(descriptor)
