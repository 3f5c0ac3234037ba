"""Stanzas `project.instance.tenant`: which there are, and what holds for one hub. The most local value wins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubfleet.config.document import Document, Place, read_given
from hubfleet.config.fields import did_you_mean
from hubfleet.config.inherit import Origin, Provenance
from hubfleet.config.providers import TENANTS
from hubfleet.deployer.files import Files
from hubfleet.deployer.projects import OTHERS, PROJECTS
from hubfleet.deployer.properties import SETTINGS
from hubfleet.errors import ConfigError

Name = tuple[str, ...]
"""Project, instance and tenant, as far as they are given."""
OVERRIDES = Path("-o")
"""Stands for the command line where a file is named."""


@dataclass(frozen=True)
class Written:
    """A value as it is written. ``part``: its stanza, "" for a global one. ``hidden``: it is not shown."""

    value: Any
    document: Document
    place: Place
    hidden: bool = False

    @property
    def text(self) -> Any:
        """The value, but of a number the text that it is written with."""
        return self.document.texts.get(self.place, self.value)

    @property
    def part(self) -> str:
        return ".".join(self.place[:-1]) if self.document.file != OVERRIDES else ""

    def line(self, inner: Place = ()) -> int:
        """The line of the value, or of something in it; 0 on the command line."""
        return self.document.line((*self.place, *inner)) if self.document.lines else 0

    def where(self, inner: Place = ()) -> str:
        """File and line, for people."""
        return Provenance().told(self.origin("", inner))

    def problem(self, what: str, remedy: str | None) -> ConfigError:
        """A mistake at the value."""
        return ConfigError(what, where=self.where(), remedy=remedy)

    def origin(self, name: str, inner: Place = ()) -> Origin:
        """The same for a setting that comes of it, which is called ``name`` there."""
        return Origin(self.line(inner), self.part, self.document.file, name, self.hidden)


def shown(name: Name) -> str:
    """A name as the key of its stanza."""
    return ".".join(name)


def stanza_of(key: str, value: Any) -> Name | None:
    """The name of a stanza; None for the key of a global property. Ids of tenants may have a dot: araport.org."""
    if key == SETTINGS:
        return None
    if "." in key or isinstance(value, dict) or key in (*PROJECTS, *OTHERS):
        parts = tuple(key.split("."))
        tenant = ".".join(parts[2:])
        return (*parts[:2], tenant) if tenant.lower() in TENANTS else parts
    return None


def names(documents: Iterable[Document], project: str) -> list[Name]:
    """All stanzas of a project, in the order of the files."""
    found = [stanza_of(key, value) for document in documents for key, value in document.data.items()]
    return list(dict.fromkeys(name for name in found if name and name[0] == project))


def leaves(found: Iterable[Name]) -> list[Name]:
    """The names that no other is below."""
    found = list(found)
    return [name for name in found if not any(other[: len(name)] == name and other != name for other in found)]


def frame_problems(document: Document, project: str) -> Iterator[ConfigError]:
    """Keys that are no stanza, though they should be."""
    for key, value in document.data.items():
        name, where = stanza_of(key, value), f"{document.file.name}:{document.line((key,))}"
        if name is None or name[0] in OTHERS:
            continue
        if name[0] != project:
            if close := did_you_mean(name[0], [project]):
                yield ConfigError(f"{key}: no project `{name[0]}`{close}", where=where, remedy=f"{project}.prod")
        elif not all(name):
            yield ConfigError(f"{key}: is not a stanza", where=where, remedy=f"{project}.prod.designsafe")
        elif len(name) > 3:
            what = f"{key}: is not a stanza, for `{shown(name[2:])}` is none of the standard tenants"
            yield ConfigError(what, where=where, remedy=f"{shown(name[:3])}:, and `tenant: {shown(name[2:])}` in it")
        elif value is not None and value != "" and not isinstance(value, dict):
            yield ConfigError(f"{key}: must hold properties", where=where, remedy="name: value, in lines below it")


def levels(document: Document, name: Name) -> Iterator[tuple[Place, dict[str, Any]]]:
    """What a file says for a name, from the most global to the most local: places of the file, and what they hold."""
    yield (), {key: value for key, value in document.data.items() if stanza_of(key, value) is None}
    for size in range(1, len(name) + 1):
        key = shown(name[:size])
        part = document.data.get(key)
        if isinstance(part, dict):
            yield (key,), part


def inherited(files: Files, name: Name, problems: list[ConfigError]) -> dict[str, list[Written]]:
    """All values of each property that hold for a name, the most local one last. An empty one takes the others away."""
    found: dict[str, list[Written]] = {}
    for size in range(len(name) + 1):
        level = (shown(name[:size]),) if size else ()
        for document in files.properties:
            for place, part in levels(document, name):
                if place == level:
                    _lay(found, part, document, place, files.hides(document), problems)
    return {key: values for key, values in found.items() if values}


def _lay(
    found: dict[str, list[Written]],
    part: dict[str, Any],
    document: Document,
    level: Place,
    hidden: bool,
    problems: list[ConfigError],
) -> None:
    for key, value in part.items():
        written = Written(value, document, (*level, key), hidden)
        values = found.setdefault(key, [])
        if values and values[-1].place == written.place:
            what = f"{key}: is at {values[-1].where()} too"
            problems.append(ConfigError(what, where=written.where(), remedy="keep one of them"))
        elif value is None or (hidden and value == ""):
            values.clear()
        else:
            values.append(written)


def overridden(text: str) -> dict[str, Written]:
    """What the command line says instead, `key=value&key=value`. Raises ConfigError."""
    found: dict[str, Written] = {}
    for item in text.split("&") if text else []:
        name, equals, value = item.partition("=")
        key = name.strip()
        if not equals or not key or key in found:
            what = "not in the form key=value&key=value, each key once"
            raise ConfigError(
                what, where=str(OVERRIDES), remedy="-o 'notebook_memory_limit=3G&notebook_offer_lab=true'"
            )
        try:
            document = read_given(OVERRIDES, key, value)
            found[key] = Written(document.data[key], document, (key,))
        except ValueError:
            raise ConfigError(f"{key}: not valid YAML", where=str(OVERRIDES), remedy="put it in quotes") from None
    return found
