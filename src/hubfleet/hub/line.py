"""Who waits for the hub, and how many people are before each.

A request that waits leaves its browser on the page it came from. That page gives each start and each log-in a ticket,
a cookie, and asks by it for its place. Nothing is looked up for an answer: a whole class asks while the hub is busy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

COOKIE = "hubfleet-line"
"""Holds the ticket: random letters, of the browser's own making. It opens nothing and tells nothing but a place."""

ASKED_PER_S = 30
"""Whoever is far back asks less often than once a second, or the asking would hold up the line."""


class Line:
    """People who wait for one thing, in the order of coming."""

    def __init__(self) -> None:
        self._waiting: dict[object, str | None] = {}

    @contextlib.contextmanager
    def stand(self, ticket: str | None) -> Iterator[None]:
        """Be in the line while this is entered, with a ticket or without."""
        me = object()
        self._waiting[me] = ticket
        try:
            yield
        finally:
            del self._waiting[me]

    def before(self, ticket: str) -> int | None:
        """How many wait before the one with this ticket; None for one who does not wait here."""
        return next((place for place, one in enumerate(self._waiting.values()) if one == ticket), None)


def ticket_of(handler: Any) -> str | None:
    """The ticket that a request came with, if any."""
    ticket: str | None = handler.get_cookie(COOKIE)
    return ticket


def ask_again_s(before: int | None) -> float:
    """After how many seconds a page should ask again."""
    return max(1.0, (before or 0) / ASKED_PER_S)
