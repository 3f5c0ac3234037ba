"""Compiles the patterns of a server's addresses once for all forks.

Each begins with the address of the user's server, so a plain start compiles them all for each user. Here what follows
that beginning is compiled in the parent, and a fork compares the beginning as text. Tornado takes a compiled pattern in
place of a text.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

_PLAIN = re.compile(r"[\w/%~@.-]*", re.ASCII)
"""Beginnings that mean themselves as a pattern; a dot, which means more, is then taken for a dot only."""


class Route:
    """A pattern of two parts, used as ``re.Pattern`` where that matches whole addresses."""

    def __init__(self, beginning: str, rest: re.Pattern[str]) -> None:
        self._beginning, self._rest = beginning, rest
        self.groups, self.groupindex, self.flags = rest.groups, rest.groupindex, rest.flags

    @property
    def pattern(self) -> str:
        """As text."""
        return self._beginning + self._rest.pattern

    def match(self, address: str) -> re.Match[str] | None:
        """As ever."""
        return self._rest.match(address, len(self._beginning)) if address.startswith(self._beginning) else None


def compiled(rests: Iterable[str]) -> dict[str, re.Pattern[str]]:
    """The patterns of what follows the server's address."""
    known = {}
    for rest in rests:
        with contextlib.suppress(re.error):  # it makes sense with its beginning only, and is compiled with that
            known[rest] = re.compile(rest)
    return known


def rests(application: Any, beginning: str) -> list[str]:
    """What follows the server's address in the patterns of a web application."""
    found = []
    for rule in application.default_router.rules:
        for inner in getattr(rule.target, "rules", ()):
            pattern = getattr(getattr(inner.matcher, "regex", None), "pattern", "")
            if pattern.startswith(beginning) and _stands_alone(pattern[len(beginning) :]):
                found.append(pattern[len(beginning) :])
    return found


def _stands_alone(rest: str) -> bool:
    """Whether it means the same behind a beginning as by itself: it repeats nothing of that, and is no choice."""
    depth = 0
    for one in re.sub(r"\\.|\[\^?\]?[^]]*\]", "", rest):  # without escaped characters and sets
        depth += {"(": 1, ")": -1}.get(one, 0)
        if one == "|" and depth == 0:
            return False
    return not rest.startswith(("?", "*", "+", "{")) and "\n" not in rest


def share(known: Mapping[str, re.Pattern[str]], beginning: str) -> None:
    """Use these in the web applications that this process makes from now on."""
    from tornado.routing import PathMatches

    if not _PLAIN.fullmatch(beginning):
        return
    usual = PathMatches.__init__

    def init(self: Any, pattern: Any) -> None:
        if isinstance(pattern, str) and pattern.startswith(beginning):
            rest = known.get(pattern[len(beginning) :].removesuffix("$") + "$")
            if rest is not None:
                pattern = Route(beginning, rest)
        usual(self, pattern)

    PathMatches.__init__ = init  # type: ignore[assignment,method-assign]
