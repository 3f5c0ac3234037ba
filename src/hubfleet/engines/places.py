"""What of the host is shown inside a server's container.

The launcher may itself be in a container. Then it sees the host's files below a directory of its own, the root.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hubfleet.config import Mount
from hubfleet.errors import ConfigError
from hubfleet.launcher.base import StartFailed

_LINKS_LIMIT = 40  # as the kernel has it


@dataclass(frozen=True)
class Place:
    """A directory of the host and where it is inside. ``identity``: its device and inode, the same from everywhere."""

    source: str
    target: str
    writable: bool
    identity: tuple[int, int]

    @classmethod
    def of(cls, source: str | Path, target: str | Path, writable: bool, root: str = "") -> Place:
        """Raises OSError if the source is not there."""
        found = os.stat(f"{root}{source}", follow_symlinks=False)
        return cls(str(source), str(target), writable, (found.st_dev, found.st_ino))


def place_of(mount: Mount, root: str) -> Place:
    """A mount's place. Raises StartFailed if it is missing, or leads to what users must not see."""
    resolved = real_path(mount.host, root)
    if not os.path.isdir(f"{root}{resolved}"):
        raise StartFailed(f"{mount.host} is missing on this machine; an administrator has to create it")
    try:
        source = Mount(resolved, mount.container, mount.mode).expand("", "").host
    except ConfigError as error:
        raise StartFailed(f"{mount.host} leads to {resolved}, which users must not see") from error
    return Place.of(source, mount.container, mount.mode == "rw", root)


def with_inner(place: Place, root: str) -> Iterator[Place]:
    """The place, and other file systems mounted inside it: each is shown for itself, or it would stay writable."""
    yield place
    with open("/proc/self/mountinfo") as file:
        fields = [line.split()[4] for line in file]
    mounted = {re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), field) for field in fields}
    outer = f"{root}{place.source}/"
    for path in sorted(path for path in mounted if path.startswith(outer) and os.path.isdir(path)):
        yield Place.of(path[len(root) :], f"{place.target}/{path[len(outer) :]}", place.writable, root)


def real_path(path: str, root: str) -> str:
    """Where a path of the host really leads, in the host's own words: links start at its root, not at ours.

    Raises StartFailed for links that lead in circles.
    """
    done, rest, links = "", [part for part in path.split("/") if part], 0
    while rest:
        part = rest.pop(0)
        if part in (".", ""):
            continue
        if part == "..":
            done = os.path.dirname(done).rstrip("/")
            continue
        here = f"{done}/{part}"
        if not os.path.islink(f"{root}{here}"):
            done = here
            continue
        links += 1
        if links > _LINKS_LIMIT:
            raise StartFailed(f"{path} leads in circles; an administrator has to look at it")
        target = os.readlink(f"{root}{here}")
        rest = [*target.split("/"), *rest]
        done = "" if target.startswith("/") else done
    return done or "/"
