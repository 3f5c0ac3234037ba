"""What loaded code has taken from the environment it was loaded in, to be taken back in a fork.

The parent has an environment of nobody's: where its servers' variables differ from user to user, it has texts that are
found again. Whatever was made from one of them is made anew in a fork. Any other variable that was looked at before
the fork has to be the same in the server; see `Tied.reason`.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOME = "/nonexistent/of-nobody"
MARK = "of-nobody"
"""In every variable of nobody's. Nothing in a fork may speak of it."""

NOBODYS = {
    "HOME": HOME,
    "USER": "user-of-nobody",
    "JUPYTERHUB_API_URL": "http://of-nobody.invalid/hub/api",
    "JUPYTERHUB_SERVICE_PREFIX": "/prefix/of-nobody/",
}
"""The variables that are looked at while a server's modules are loaded, and differ from user to user."""

EARLY = ("PYTHON", "LD_", "MALLOC_", "GLIBC_", "LC_", "LANG")
"""Beginnings of variables that act where Python code does not see them being read."""


class _Asked(os._Environ[str]):
    """Remembers which variables were looked at."""

    names: set[str] = set()  # noqa: RUF012 - os.environ's class is changed; its attributes are what they were

    def __getitem__(self, name: str) -> str:
        if isinstance(name, str):  # `subprocess` also tries what is none
            self.names.add(name)
        return super().__getitem__(name)


def remember_what_is_asked() -> None:
    """From now on, remember which variables are looked at."""
    os.environ.__class__ = _Asked


@dataclass(frozen=True)
class Tied:
    """``modules``: names of those that keep something of nobody's. ``traits``: those with such a default.

    ``copies``: classes' copies of the environment.
    """

    modules: tuple[str, ...] = ()
    traits: tuple[Any, ...] = ()
    copies: tuple[dict[str, str], ...] = ()

    @classmethod
    def found(cls) -> Tied:
        """What is tied in this process."""
        from traitlets import HasTraits, TraitType

        modules = [(name, vars(module)) for name, module in sys.modules.items() if name not in ("__main__", "site")]
        tied = [name for name, values in modules if any(of_nobody(value) for value in values.values())]
        classes = [one for one in gc.get_objects() if isinstance(one, type)]
        values = [(one, value) for one in classes for value in vars(one).values()]
        copies = [value for _, value in values if isinstance(value, dict) and value.get("HOME") == HOME]
        traits = {value for one, value in values if issubclass(one, HasTraits) and isinstance(value, TraitType)}
        return cls(tuple(tied), tuple(trait for trait in traits if of_nobody(trait.default_value)), tuple(copies))

    def reason(self, environment: Mapping[str, str]) -> str:
        """Why a process with this environment cannot be a fork; nothing if it can."""
        known = {name: os.environ.get(name) for name in asked() - NOBODYS.keys()}
        other = sorted(name for name, value in known.items() if environment.get(name) != value)
        return f"{', '.join(other)} in its environment" if other else ""

    def release(self, environment: Mapping[str, str]) -> None:
        """Take on this environment, in whatever has taken something from the one before."""
        os.environ.__class__ = os._Environ
        os.environ.clear()
        os.environ.update(environment)
        for trait in self.traits:
            give_default(trait, owned(trait.default_value))
        for copy in self.copies:
            copy.clear()
            copy.update(environment)

    def renew(self, one: Any) -> None:
        """Where this object has kept a default of nobody's, give it this process's own."""
        for trait in self.traits:
            if isinstance(one, trait.this_class) and of_nobody(getattr(one, trait.name)):
                setattr(one, trait.name, trait.default_value)

    def reload(self) -> None:
        """Load the modules again, in place: whoever has imported from one gets the new values too."""
        for name in self.modules:
            importlib.reload(sys.modules[name])


def asked() -> set[str]:
    """The variables that were looked at."""
    return set(_Asked.names)


def give_default(trait: Any, value: Any) -> None:
    """Give a trait of a class another default."""
    trait.default_value = value
    classes = [trait.this_class]
    while classes:
        one = classes.pop()
        classes += one.__subclasses__()
        if trait.name in one._static_immutable_initial_values:  # traitlets' copy of it
            one._static_immutable_initial_values[trait.name] = value


def of_nobody(value: Any) -> bool:
    """Whether it is a text that begins with one of nobody's variables."""
    return isinstance(value, (str, bytes)) and os.fsdecode(value).startswith(tuple(NOBODYS.values()))


def owned(text: str) -> str:
    """The same with this process's own variable."""
    name, before = next((name, before) for name, before in NOBODYS.items() if text.startswith(before))
    return os.environ.get(name, "") + text[len(before) :]


def left_over() -> list[str]:
    """Where something still speaks of nobody: the kinds of objects that hold it."""
    found = {"a directory"} if os.path.lexists(HOME) else set()
    own = {id(MARK), *map(id, NOBODYS.values())}
    mark = MARK.encode()
    for holder in gc.get_objects():
        inside = gc.get_referents(holder)
        while inside:
            value = inside.pop()
            if isinstance(value, (str, bytes)):
                if mark in _bytes(value) and id(value) not in own:
                    found.add(f"{type(holder).__module__}.{type(holder).__qualname__}")
            elif isinstance(value, (tuple, dict)) and not gc.is_tracked(value):  # of texts and numbers only
                inside += gc.get_referents(value)
    return sorted(found)


def _bytes(value: str | bytes) -> bytes:
    return value.encode(errors="replace") if isinstance(value, str) else value
