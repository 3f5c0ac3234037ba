"""What differs between two configurations, setting by setting, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hubfleet.config.document import Place

_ORDER = "order"


def changed_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """Lines such as "servers.memory.limit: 1G -> 2G", from two dumps (`Config.dump`), in the order of the settings."""
    old, new = dict(_set(before, ())), dict(_set(after, ()))
    lines = []
    for place in dict.fromkeys([*old, *new]):
        was, now = old.get(place), new.get(place)
        if was == now:
            continue
        if place[0] != _ORDER:
            lines.append(f"{'.'.join(place)}: {_shown(was)} -> {_shown(now)}")
        elif sorted(was or ()) == sorted(now or ()):  # else some came or went, which has lines of its own
            lines.append(f"order of {place[1]}: {_shown(was)} -> {_shown(now)}")
    return tuple(lines)


def _set(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """Every setting that is set, with its place; lists are settings as a whole."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _set(inner, (*place, str(key)))
    elif value is not None and value not in ([], ()):
        yield place, value


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "not set" if value is None else str(value)
