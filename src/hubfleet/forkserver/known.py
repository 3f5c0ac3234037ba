"""Answers that cost each server time and are the same for all of an environment: found once, before the fork.

Nobody's rights or files are behind any of them; each is checked to be still the answer, or cannot change while the
environment does not.
"""

from __future__ import annotations

import glob
import hashlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable, Iterator
from typing import Any

NOTEBOOKS = (5, 4, 2)  # minor versions of notebooks' format 4 that are about
SCHEMAS = ("lab/schemas/**/*.json", "labextensions/**/schemas/**/*.json")
"""Where JupyterLab and its extensions have the schemas of their settings, below ``share/jupyter``."""


class Offers:
    """In place of `importlib.metadata.entry_points`, which reads a file of every package each time.

    It still does in a server that has other places for packages: the user's own.
    """

    def __init__(self) -> None:
        self._read, self._path = importlib.metadata.entry_points, [""]
        self._all: Any = None
        importlib.metadata.entry_points = self.entry_points  # before anybody takes it from there

    def entry_points(self, **wanted: Any) -> Any:
        """See importlib.metadata."""
        return self._all.select(**wanted) if sys.path == self._path else self._read(**wanted)

    def learn(self) -> None:
        """All packages' offers, from now on."""
        self._all, self._path = self._read(), list(sys.path)


class Checked:
    """In place of a class of validators: does not check again what is like a schema that it has found right."""

    def __init__(self, validator: Any) -> None:
        self._validator = validator
        self._right: set[bytes] = set()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """A validator."""
        return self._validator(*arguments, **options)

    def check_schema(self, schema: Any, *arguments: Any, **options: Any) -> None:
        """See jsonschema."""
        text = "" if arguments or options else _text(schema)
        found = hashlib.sha256(text.encode()).digest()
        if not text or found not in self._right:
            self._validator.check_schema(schema, *arguments, **options)
            if text:
                self._right.add(found)


def _text(value: Any) -> str:
    """The value as JSON; nothing for what JSON has no words for."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return ""


def learn(offers: Offers) -> list[str]:
    """Find them; returns what failed."""
    return [*_attempted(_learn(offers))]


def _learn(offers: Offers) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "what packages offer", offers.learn
    yield "the machine's processor", lambda: platform.uname().processor  # asks a program
    yield "the schema of notebooks", _notebooks
    yield "the schemas of settings", _settings
    yield "the language of templates", _templates


def _attempted(parts: Iterator[tuple[str, Callable[[], object]]]) -> Iterator[str]:
    for name, part in parts:
        try:
            part()
        except Exception as error:  # noqa: BLE001 - a server that needs it will say so itself
            yield f"{name}: {type(error).__name__}: {error}"


def _notebooks() -> None:
    """Make what checks a notebook when it is opened or saved.

    nbformat makes it when it is first needed, and keeps it. It is several times as large as all else that a server
    makes for a notebook.
    """
    from nbformat.validator import get_validator

    for minor in NOTEBOOKS:
        get_validator(4, minor)  # type: ignore[no-untyped-call]


def _settings() -> None:
    """Check the schemas of JupyterLab's settings, as a server does with all of them each time a page asks for them."""
    from jupyterlab_server import settings_utils  # type: ignore[import-not-found]

    checked = settings_utils.Validator = Checked(settings_utils.Validator)
    for pattern in SCHEMAS:
        for path in glob.glob(f"{sys.prefix}/share/jupyter/{pattern}", recursive=True):
            with open(path, encoding="utf-8") as file:
                checked.check_schema(json.load(file))


def _templates() -> None:
    """Make what reads templates: one for all environments with the same options."""
    from jinja2 import Environment

    Environment(extensions=["jinja2.ext.i18n"], autoescape=True).from_string("{% trans %}{{ one }}{% endtrans %}")
