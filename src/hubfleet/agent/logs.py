"""What a container's program said, a piece at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """lines: of the program's output. at: when the last of them was said, in the engine's words."""

    lines: tuple[str, ...]
    at: str


def read_log(container: str, lines: int, after: str) -> Said:
    """The last lines that a container's program said, or all it said after a moment (`Said.at`).

    Raises CheckError if the engine does not answer.
    """
    from hubfleet.agent.docker import Engine

    said = Engine().logs(container, lines, after)
    moment = said[-1].partition(" ")[0] if said else after
    return Said(tuple(line.partition(" ")[2] for line in said), moment)
