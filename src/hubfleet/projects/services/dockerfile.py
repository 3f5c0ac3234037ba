"""What of a Dockerfile hubfleet has to know: what its stages are built on."""

from __future__ import annotations

import re
from collections.abc import Iterator

_NOTHING = re.compile(r"\s*(#|$)")
_HEREDOC = re.compile(r"(?<=\s)\d*<<-?\s*([\"']?)(\w+)\1")
_FROM = re.compile(r"\s*FROM\s+(?:--\S+\s+)*(?P<image>\S+)(?:\s+AS\s+(?P<stage>\S+))?", re.IGNORECASE)


def bases(text: str) -> list[str]:
    """The images that stages are built on, the first one's first, less what is an earlier stage, or nothing at all."""
    found: list[str] = []
    stages: set[str] = set()
    for instruction in _instructions(text):
        said = _FROM.match(instruction)
        if said is None:
            continue
        # The first has to name one: there is no stage before it, and what is built on nothing needs one that builds.
        if not found or said["image"].lower() not in {*stages, "scratch"}:
            found.append(said["image"])
        stages.add((said["stage"] or "").lower())
    return found


def _instructions(text: str) -> Iterator[str]:
    """Each on one line, without what a shell or a file of it is given to read."""
    lines = iter(text.splitlines())
    for line in lines:
        if _NOTHING.match(line):
            continue
        whole = line
        while whole.rstrip().endswith("\\"):
            more = next((one for one in lines if not _NOTHING.match(one)), None)
            if more is None:
                break
            whole = f"{whole.rstrip()[:-1]} {more}"
        for _, end in _HEREDOC.findall(whole):
            for inner in lines:
                if inner.strip() == end:
                    break
        yield whole
