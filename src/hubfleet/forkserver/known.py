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
from collections.abc import Callable
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
        key = b"" if arguments or options else _digest(schema)
        if key not in self._right:
            self._validator.check_schema(schema, *arguments, **options)
            if key:
                self._right.add(key)


def _digest(value: Any) -> bytes:
    """Of the value as JSON; nothing for what JSON has no words for."""
    try:
        return hashlib.sha256(json.dumps(value).encode()).digest()
    except (TypeError, ValueError):
        return b""


def answers(offers: Offers) -> tuple[tuple[str, Callable[[], object]], ...]:
    """What there is to find, and how."""
    return (
        ("what packages offer", offers.learn),
        ("the machine's processor", lambda: platform.uname().processor),  # asks a program
        ("the schema of notebooks", _notebooks),
        ("the schemas of settings", _settings),
        ("the language of templates", _templates),
    )


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
