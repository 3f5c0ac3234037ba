"""What commands want of a hub's own parts (hub, proxy, launcher, ...), however they are kept running."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

UNREACHABLE = "unreachable"
"""The state of a part whose machine cannot be asked."""


@dataclass(frozen=True)
class Part:
    """One part: "running", or in a word why not; since when (seconds since 1970), and how often it was started anew.

    why: a sentence, where its machine cannot be asked.
    """

    state: str
    since: float
    restarts: int
    pid: int | None = None
    why: str = ""


class Parts(Protocol):
    """The parts of one hub. Where they are asked for and cannot be: UnreachableError or NotRunningError."""

    names: tuple[str, ...]
    """The parts there should be, in the order in which they start."""
    logs: tuple[str, ...]
    """Those that have a log, the hub's first."""
    keeper: str
    """What keeps them running: "its supervisor", say."""

    def statuses(self) -> Mapping[str, Part] | None:
        """How each is; None when the hub does not run."""

    def servers(self) -> list[dict[str, Any]]:
        """Users' servers that run, as records: whether or not a launcher does."""

    def stop(self) -> int:
        """Stop all parts, and then users' servers; returns how many of these there were. Raises ApplyError."""

    def log(self, what: str, lines: int, follow: bool) -> Iterator[str] | None:
        """The last lines of a part's log, or of a server's by its id; to follow, what comes then. None: no such log."""


def launcher_words(log: Iterable[str], server: str) -> list[str]:
    """Of the launcher's log, what it says of this server."""
    return [line for line in log if f" {server}: " in line]
