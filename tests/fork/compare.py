"""Compares what two processes tell of themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

Difference = Callable[[Any, Any], bool]


def machines(kind: str) -> str:
    """The namespace of this kind in which the machine's own processes are."""
    return os.readlink(f"/proc/self/ns/{kind}")


def flat(found: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(found, dict) and found:
        for key, value in found.items():
            yield from flat(value, f"{path}/{key}")
    else:
        yield path, found


def differences(
    fast: dict[str, Any], plain: dict[str, Any], when: str, allowed: dict[str, tuple[str, Difference]]
) -> list[str]:
    """The differences that nothing allows, as text. ``allowed``: patterns of paths, why, and what is allowed there."""
    one, other = dict(flat(fast)), dict(flat(plain))
    found = []
    for path in sorted(one.keys() | other.keys()):
        a, b = one.get(path), other.get(path)
        rules = [rule for pattern, (_, rule) in allowed.items() if re.search(f"{pattern}$", when + path)]
        if a != b and not any(rule(a, b) for rule in rules):
            found.append(f"{path}\n  forked {_short(a, b)}\n  plain  {_short(b, a)}")
    return found


def _short(value: Any, other: Any) -> str:
    if isinstance(value, list) and isinstance(other, list) and (own := [one for one in value if one not in other]):
        return f"has {own}"[:600]
    return str(value)[:600]
