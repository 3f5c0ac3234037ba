"""One hub out of a file. Among several, `defaults` and `hubs` merge and the most local value wins."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubfleet.config.document import Document, Place, leaves, raised
from hubfleet.config.fields import did_you_mean
from hubfleet.errors import ConfigError


@dataclass(frozen=True)
class Origin:
    """Where a value was written: the line, and among several hubs the part ("defaults", "hubs.prod").

    ``file``: where it is another than the configuration's own. ``name``: what the setting is called there, if that is
    something else. ``secret``: the value is not repeated, whatever is wrong with it. Line 0: there are no lines.
    """

    line: int
    part: str = ""
    file: Path | None = None
    name: str = ""
    secret: bool = False


@dataclass(frozen=True)
class Provenance:
    """Where each setting comes from. Any two are equal: the origin is no part of the configuration."""

    file: Path | None = field(default=None, compare=False)
    origins: dict[str, Origin] = field(default_factory=dict, compare=False)

    def origin(self, place: Place) -> Origin | None:
        """The origin of exactly this place, or None when it was not written."""
        return self.origins.get(dotted(place))

    def where(self, place: Place) -> str | None:
        """The line of the place or of what is around it, "hubfleet.yaml:12"; None without a file."""
        if self.file is None:
            return None
        origin = self.nearest(place)
        return self.told(origin) if origin else f"{self.file.name}:1"

    def nearest(self, place: Place) -> Origin | None:
        """The origin of the place, or of what is around it."""
        sizes = range(len(place), 0, -1)
        return next((self.origins[key] for size in sizes if (key := dotted(place[:size])) in self.origins), None)

    def told(self, origin: Origin) -> str:
        """File and line of an origin, for people."""
        file = origin.file or self.file
        name = file.name if file else ""
        return f"{name}:{origin.line}" if origin.line else name


@dataclass(frozen=True)
class Tree:
    """The plain data of one hub. `shared` says whether the file describes several hubs."""

    data: dict[str, Any]
    provenance: Provenance
    shared: bool = False


def dotted(place: Place) -> str:
    """The key of a place. In lower case, as user names are."""
    return ".".join(place).lower()


def select(document: Document, hub: str | None, key: str = "hub") -> Tree:
    """The hub called `hub`, or the only one. Raises ConfigError, naming the hubs there are.

    key: what holds the name of the only one.
    """
    if "hubs" in document.data or "defaults" in document.data:
        return _inherited(document, hub)
    name = document.data.get(key)
    if hub is not None and name != hub:
        raise _unknown_hub(document, hub, [str(name)] if name else [])
    tree = Tree({}, Provenance(document.file))
    _overlay(tree, document, ())
    return tree


def _inherited(document: Document, hub: str | None) -> Tree:
    hubs = _hubs(document)
    if hub is None and len(hubs) != 1:
        listed = ", ".join(hubs)
        raise ConfigError(f"the file describes {len(hubs)} hubs: {listed}", where=document.file.name, remedy="-H NAME")
    name = hub if hub is not None else hubs[0]
    if name not in hubs:
        raise _unknown_hub(document, name, hubs)
    tree = Tree({"hub": name}, Provenance(document.file), shared=True)
    tree.provenance.origins["hub"] = Origin(document.line(("hubs", name)), f"hubs.{name}")
    pieces = name.split(".")
    ancestors = (".".join(pieces[:size]) for size in range(1, len(pieces) + 1))
    chain: list[Place] = [("defaults",)] if "defaults" in document.data else []
    for part in [*chain, *(("hubs", ancestor) for ancestor in ancestors if ancestor in hubs)]:
        _overlay(tree, document, part)
    return tree


def _hubs(document: Document) -> list[str]:
    """The names of the hubs, once the frame of the file is known to be right."""
    problems: list[ConfigError] = []

    def problem(place: Place, what: str, remedy: str) -> None:
        where = f"{document.file.name}:{document.line(place)}"
        problems.append(ConfigError(f"{'.'.join(place)}: {what}", where=where, remedy=remedy))

    hubs = document.data.get("hubs") or {}
    for key in document.data:
        if key not in ("defaults", "hubs"):
            problem((key,), "stands beside `hubs`", f"move `{key}` under `defaults` or under one of the hubs")
    if not isinstance(hubs, dict) or not hubs:
        problem(("hubs",), "no hub is named", "hubs: {prod: {...}}")
        hubs = {}
    parts = {("hubs", name): part for name, part in hubs.items()} | {("defaults",): document.data.get("defaults")}
    for place, part in parts.items():
        if part is not None and not isinstance(part, dict):
            problem(place, "must hold settings", "{servers: {memory: {limit: 1G}}}")
        elif part and "hub" in part:
            problem((*place, "hub"), "the name of a hub is its key under `hubs`", "remove this line")
    if problems:
        raise raised(problems)
    return list(hubs)


def _overlay(tree: Tree, document: Document, part: Place) -> None:
    """Lay one part of the file over the tree."""
    data: Any = document.data
    for key in part:
        data = data[key]
    overlay(tree, data or {}, lambda place: Origin(document.line((*part, *place)), ".".join(part)))


def overlay(tree: Tree, data: dict[str, Any], origin: Callable[[Place], Origin]) -> None:
    """Lay data over the tree: maps merge, all else replaces, null takes a value away.

    origin: where each place of the data was written.
    """
    origins = tree.provenance.origins

    def merge(into: dict[str, Any], data: dict[str, Any], at: Place) -> None:
        for key, value in data.items():
            here = (*at, key)
            if isinstance(value, dict) and isinstance(into.get(key), dict):
                merge(into[key], value, here)
                continue
            for stale in [name for name in origins if f"{name}.".startswith(f"{dotted(here)}.")]:
                del origins[stale]
            if value is None and key in into:
                del into[key]
                continue
            into[key] = copy.deepcopy(value)
            for place, _ in leaves(value, here):
                origins[dotted(place)] = origin(place)

    merge(tree.data, data, ())


def _unknown_hub(document: Document, hub: str, known: list[str]) -> ConfigError:
    listed = f"-H {' or -H '.join(known)}" if known else f"hub: {hub}"
    return ConfigError(f"no hub `{hub}` here{did_you_mean(hub, known)}", where=document.file.name, remedy=listed)
