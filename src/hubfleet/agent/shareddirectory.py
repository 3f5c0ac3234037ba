"""Looks at directories that several machines share."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from hubfleet.agent.base import Progress
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.shareddirectory import SharedDirectory

LIMIT_S = 70.0
"""How long what another machine wrote is waited for: a client of NFS may take a minute to look again."""
_EVERY_S = 0.5


def observe(shared: SharedDirectory) -> Observed | None:
    if not os.path.isdir(shared.path):
        return None
    point, source = _file_system(os.path.realpath(shared.path))
    try:
        content = Path(shared.path, shared.marker).read_text(encoding="utf-8", errors="replace")
    except OSError:
        content = ""
    return {"mounted": point != "/", "source": source, "content": content}


def apply(shared: SharedDirectory, change: Change, progress: Progress) -> None:
    """Waits until the other machine's file is seen. Raises ApplyError when it is not."""
    progress(f"looking whether {shared.path} is the same here as on the machine that has it")
    deadline = time.monotonic() + LIMIT_S
    while (found := observe(shared)) is None or found["content"] != shared.content:
        if found is None:
            raise ApplyError(f"there is no directory {shared.path}", remedy="mount it there, then hubfleet up again")
        if time.monotonic() > deadline:
            raise ApplyError(
                f"{shared.path} here ({found['source']}) is not what it is where its files are: what was written "
                "there is not seen here",
                state="No server was started here",
                remedy="mount the same file system on both, then hubfleet up again",
            )
        time.sleep(_EVERY_S)


def _file_system(path: str) -> tuple[str, str]:
    """Where the file system that a path is on is mounted, and what it is: its type and source."""
    found = ("/", "")
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        inside = path == point or path.startswith(f"{point.rstrip('/')}/")
        if inside and len(point) >= len(found[0]):
            kind, source = fields[fields.index("-") + 1 :][:2]
            found = (point, f"{kind} {source}")
    return found
