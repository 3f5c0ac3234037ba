"""What of the host is there to be shown: file systems that have to be mounted, and directories of projects.

Below a file system that is not mounted, things would be looked for, and written, elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable
from typing import TypeVar

from hubfleet.config import Mount
from hubfleet.config.effective import Effective
from hubfleet.launcher.base import PROJECT_LEFT_OUT, Progress, StartFailed

logger = logging.getLogger("hubfleet.launcher")
Found = TypeVar("Found")


def require_mounted(effective: Effective, root: str) -> None:
    """Raises StartFailed for a server that would be shown something below a file system that is not there.

    ``root``: where the machine's files are, for one who is in a container.
    """
    hosts = [mount.host for mount in (*effective.mounts, *effective.projects)]
    needed = [path for path in effective.must_be_mounted if any(f"{host}/".startswith(f"{path}/") for host in hosts)]
    for path in needed:
        with contextlib.suppress(OSError):
            os.close(
                os.open(f"{root}{path}", os.O_RDONLY | os.O_DIRECTORY)
            )  # one that is mounted on demand comes by being looked at
    table, before = _table(root)
    for path in needed:
        if not mounted(f"{before}{path}", table):
            raise StartFailed(f"{path} is not mounted on this machine; an administrator has to mount it")


def _table(root: str) -> tuple[str, str]:
    """What is mounted on the machine, and what stands before its paths there.

    A container keeps what was mounted when it started, where the machine does not share its mounts with it. So the
    machine's own table is read, that of its first process.
    """
    if root:
        with contextlib.suppress(OSError), open(f"{root}/proc/1/mountinfo", encoding="utf-8") as file:
            return file.read(), ""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return file.read(), root


def those_there(effective: Effective, look: Callable[[Mount], Found], progress: Progress) -> list[Found]:
    """What ``look`` finds for each project; where it raises StartFailed or OSError, it is said that one is left out."""
    found = []
    for mount in effective.projects:
        try:
            found.append(look(mount))
        except (StartFailed, OSError) as problem:
            logger.warning("left out: %s", problem)
            progress(f"{PROJECT_LEFT_OUT} {os.path.basename(mount.container)}: {problem}")
    return found


def mounted(path: str, table: str) -> bool:
    """Whether a file system is mounted exactly there, by a table such as /proc/self/mountinfo."""
    found = ""
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        if _plain(before.split()[4]) == path:
            found = after.split()[0]  # the last one lies on top
    return found not in ("", "autofs")


def _plain(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), field)
