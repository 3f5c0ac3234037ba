"""The skeleton of new homes, which is beside the configuration and goes to the hub's machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hubfleet.config import Config
from hubfleet.layout import Layout
from hubfleet.resources import Skeleton
from hubfleet.resources.skeleton import Entry

MOST_BYTES = 10_000_000
MOST_ENTRIES = 2000
_SETTING = "storage.homes.skeleton"


def folder(layout: Layout) -> Path:
    """Where skeletons are on the machine, by what is in them."""
    return layout.state / "skeletons"


def skeleton(config: Config, layout: Layout) -> Skeleton | None:
    """The one of the configuration, if it has one."""
    source = _source(config)
    return Skeleton.of(str(folder(layout)), dict(_entries(source))) if source else None


def problems(config: Config) -> Iterator[str]:
    """Why the configuration's skeleton cannot go to a machine, with what to change."""
    source = _source(config)
    if source is None:
        return
    line, found, size = config.line(_SETTING), 0, 0
    for path in _paths(source):
        what = os.lstat(path)
        kind = stat.S_IFMT(what.st_mode)
        found, size = found + 1, size + (what.st_size if kind == stat.S_IFREG else 0)
        if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            yield f"{line}{_SETTING}: {path} is no file, directory or link. Try: take it out"
        elif kind != stat.S_IFLNK and not os.access(path, os.R_OK):
            yield f"{line}{_SETTING}: {path} cannot be read. Try: chmod u+r {path}"
    if size > MOST_BYTES or found > MOST_ENTRIES:
        most = f"{MOST_BYTES / 10**6:.0f} MB and {MOST_ENTRIES} entries are the most that goes to a machine"
        remedy = "put what is large into a directory there, and show it to all: storage.mounts"
        yield f"{line}{_SETTING} has {size / 10**6:.1f} MB in {found} entries; {most}. Try: {remedy}"


def _source(config: Config) -> Path | None:
    return config.storage.homes.skeleton if config.storage.homes else None


def _paths(source: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(source):
        yield from (Path(here) / name for name in (*folders, *files))


def _entries(source: Path) -> Iterator[tuple[str, Entry]]:
    for path in _paths(source):
        what, name = os.lstat(path), str(path.relative_to(source))
        if stat.S_ISLNK(what.st_mode):
            yield name, Entry(0o777, link=os.readlink(path))
        else:
            mode, directory = what.st_mode & 0o777, stat.S_ISDIR(what.st_mode)
            yield name, Entry(mode, directory, content=b"" if directory else path.read_bytes())
