"""YAML read into plain data that remembers its lines. Mistakes of the YAML itself are found here."""

from __future__ import annotations

import io
import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.tokens import (
    FlowMappingEndToken,
    FlowMappingStartToken,
    FlowSequenceEndToken,
    FlowSequenceStartToken,
)

from hubfleet.errors import ConfigError, ConfigErrors

_TAG = "tag:yaml.org,2002:"
_CLOSING = {"[": "]", "{": "}"}

Place = tuple[str, ...]
"""Where in the document: keys and list indices from the top."""


@dataclass(frozen=True)
class Document:
    """The plain data of one file, and the line (from 1) of every key and list item.

    ``texts``: every number as it is written: 0012 is a good name for something, and another one than 12.
    """

    file: Path
    data: dict[str, Any]
    lines: dict[Place, int] = field(default_factory=dict)
    texts: dict[Place, str] = field(default_factory=dict)

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest thing around it."""
        return next((self.lines[place[:size]] for size in range(len(place), 0, -1) if place[:size] in self.lines), 1)


def read_document(file: Path, *, secret: bool = False) -> Document:
    """Read a YAML file. Raises ConfigError, with all repeated keys at once.

    secret: every scalar stays as it is written, a tag `!command` becomes text too, errors quote nothing. The file need
    not be there; one that others may read is refused.
    """
    text = _read(file, secret)
    try:
        node = YAML(typ="rt", pure=True).compose(io.StringIO(text))
    except YAMLError as error:
        raise _syntax_error(file, text, error, secret) from None
    except RecursionError:
        raise ConfigError("nested too deeply", where=file.name, remedy="see `hubfleet init` for the form") from None
    reader = _Reader(file, secret)
    data = reader.value(node, ()) if node is not None else {}
    if reader.problems:
        raise raised(reader.problems)
    if not isinstance(data, dict):
        raise ConfigError("the file must hold `key: value` lines", where=f"{file.name}:1", remedy="hub: physics101")
    return Document(file, data, reader.lines, reader.texts)


def read_given(file: Path, key: str, text: str) -> Document:
    """What a piece of YAML says, such as a number or a list in brackets, as the value of a key in a document without
    lines. ``file``: what stands for its file. Raises ValueError if it is no YAML."""
    try:
        node = YAML(typ="rt", pure=True).compose(io.StringIO(text))
    except (YAMLError, RecursionError):
        raise ValueError("not valid YAML") from None
    reader = _Reader(file, secret=False)
    found = reader.value(node, (key,)) if node is not None else None
    if reader.problems:
        raise ValueError("not valid YAML")
    return Document(file, {key: found}, texts=reader.texts)


def raised(problems: list[ConfigError]) -> ConfigError:
    """One error for all problems of a file."""
    return problems[0] if len(problems) == 1 else ConfigErrors(problems)


def _read(file: Path, secret: bool) -> str:
    try:
        with file.open(encoding="utf-8-sig") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if secret and mode & 0o077:
                what = f"others may read this file (mode {mode:04o})"
                raise ConfigError(what, where=file.name, remedy=f"run chmod 600 {shlex.quote(str(file))}")
            return opened.read()
    except FileNotFoundError:
        if secret:
            return ""
        raise ConfigError(f"{file} not found", remedy="run `hubfleet init`") from None
    except UnicodeDecodeError:
        raise ConfigError("the file is not UTF-8 text", where=file.name, remedy="save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", remedy=f"ls -l {file}") from None


def _syntax_error(file: Path, text: str, error: YAMLError, secret: bool) -> ConfigError:
    mark = (error.problem_mark or error.context_mark) if isinstance(error, MarkedYAMLError) else None
    line = mark.line + 1 if mark else 1
    for number, content in enumerate(text.splitlines()[:line], 1):
        if "\t" in content[: len(content) - len(content.lstrip())]:
            return ConfigError("a tab before the text", where=f"{file.name}:{number}", remedy="use spaces")
    if (opened := _never_closed(text)) is not None:
        bracket, line = opened
        where, remedy = f"{file.name}:{line}", f"add the `{_CLOSING[bracket]}` that ends it"
        return ConfigError(f"not valid YAML: this `{bracket}` is never closed", where=where, remedy=remedy)
    cause = str(getattr(error, "problem", None) or "a character that YAML does not allow")
    what = "not valid YAML" if secret else f"not valid YAML: {cause}"
    return ConfigError(what, where=f"{file.name}:{line}", remedy="check colons, quotes and indentation")


def _never_closed(text: str) -> tuple[str, int] | None:
    """The bracket that has no end, and its line; YAML itself complains only where something else does not fit."""
    brackets: list[tuple[str, int]] = []
    try:
        for token in YAML(typ="rt", pure=True).scan(io.StringIO(text)):
            line = token.start_mark.line + 1
            if isinstance(token, FlowSequenceStartToken):
                brackets.append(("[", line))
            elif isinstance(token, FlowMappingStartToken):
                brackets.append(("{", line))
            elif isinstance(token, (FlowSequenceEndToken, FlowMappingEndToken)):
                closing = "]" if isinstance(token, FlowSequenceEndToken) else "}"
                if not brackets:
                    return None
                if _CLOSING[brackets[-1][0]] != closing:
                    return brackets[-1]
                brackets.pop()
    except YAMLError:  # a quotation mark, say: the first complaint is the better one
        return None
    return brackets[-1] if brackets else None


class _Reader:
    def __init__(self, file: Path, secret: bool) -> None:
        self.file = file
        self.secret = secret
        self.lines: dict[Place, int] = {}
        self.texts: dict[Place, str] = {}
        self.problems: list[ConfigError] = []
        self._open: set[int] = set()

    def value(self, node: Node, place: Place) -> Any:
        if id(node) in self._open:
            self._problem(node, "an alias that holds itself", "write the value out")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, place)
            if isinstance(node, SequenceNode):
                return [self._item(item, place, index) for index, item in enumerate(node.value)]
            found = self._scalar(node)
            if isinstance(found, (int, float)) and not isinstance(found, bool):
                self.texts[place] = node.value
            return found
        finally:
            self._open.discard(id(node))

    def _item(self, node: Node, place: Place, index: int) -> Any:
        here = (*place, str(index))
        self.lines[here] = _line(node)
        return self.value(node, here)

    def _mapping(self, node: MappingNode, place: Place) -> dict[str, Any]:
        self._repeated(node)
        result: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._problem(key, "a key must be a plain word", "key: value")
            elif key.value == "<<":
                self._problem(key, "`<<` is not used here", "groups (for people) or defaults (for hubs)")
            else:
                here = (*place, key.value)
                self.lines[here] = _line(key)
                result[key.value] = self.value(value, here)
        return result

    def _repeated(self, node: MappingNode) -> None:
        seen: dict[str, list[Node]] = {}
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                seen.setdefault(key.value, []).append(key)
        for name, keys in seen.items():
            if len(keys) > 1:
                lines = ", ".join(str(_line(key)) for key in keys)
                self._problem(keys[-1], f"`{name}` twice: lines {lines}", "keep one of them")

    def _scalar(self, node: Node) -> Any:
        tag = str(node.tag or "")
        if not tag.startswith(_TAG) and tag:
            if self.secret and tag == "!command":
                return f"!command {node.value}"
            self._problem(node, "an unknown `!` tag" if self.secret else f"`{tag}` is not used here", "remove it")
        return node.value if self.secret else plain(node.value, tag)

    def _problem(self, node: Node, what: str, remedy: str) -> None:
        self.problems.append(ConfigError(what, where=f"{self.file.name}:{_line(node)}", remedy=remedy))


def plain(text: str, tag: str) -> str | int | float | bool | None:
    """The value of a scalar whose YAML 1.2 type is known. Dates and the like stay text."""
    try:
        if tag == f"{_TAG}int":
            return int(text)
        if tag == f"{_TAG}float":
            return float(text)
    except ValueError:
        return text
    if tag == f"{_TAG}bool":
        return text.lower() == "true"
    return None if tag == f"{_TAG}null" else text


def dig(data: Any, place: Place) -> Any:
    """The value at a place of plain data, or None."""
    for key in place:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every place of plain data with its value, maps and lists before what they hold."""
    if place:
        yield place, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*place, str(key)))


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
