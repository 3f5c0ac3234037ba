"""What commands want of a hub's own parts (hub, proxy, launcher, ...), however they are kept running."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rich.table import Table

from hubfleet.cli.console import table

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

    def starts_take_room_at(self) -> str:
        """The directory of something else that writes to it when a server starts; "" for none."""

    def log(self, what: str, lines: int, follow: bool) -> Iterator[str] | None:
        """The last lines of a part's log, or of a server's by its id; to follow, what comes then. None: no such log."""


def launcher_words(log: Iterable[str], server: str) -> list[str]:
    """Of the launcher's log, what it says of this server."""
    return [line for line in log if f" {server}: " in line]


def parts_table(noun: str, found: Mapping[str, Mapping[str, Any]]) -> Table:
    """How parts are, by name; and where, if they are on several machines."""
    places = {entry["machine"] for entry in found.values()}
    shown = table(noun, "state", "since", "restarts", *(["on"] if len(places) > 1 else []))
    for name, entry in found.items():
        where = [entry["machine"]] if len(places) > 1 else []
        shown.add_row(name, entry["state"], ago(entry["since"]), str(entry["restarts"]), *where)
    return shown


def ago(moment: float) -> str:
    """How long ago that was (seconds since 1970), in the largest unit: "5m"."""
    seconds = max(0, int(time.time() - moment))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
