"""Who of those that a provider vouches for may enter: the rules, and what is known of a person.

The hub reads the rules from a file that hubfleet writes, and looks at it again whenever it changes: somebody who is
taken off is out with the next request, and the hub is not restarted for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

BLOCKED = "blocked"
NOT_LISTED = "not listed"


@dataclass(frozen=True)
class Person:
    """What a provider tells of somebody, all in lower case but the name's own spelling there.

    ``name``: as the hub knows the person. ``subject``: who it is at the provider, for good. ``groups``: of the
    provider; teams of GitHub are "organization/team".
    """

    name: str
    subject: str = ""
    groups: frozenset[str] = frozenset()
    organizations: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """JSON-able; `from_json` makes it again."""
        sets = ("groups", "organizations", "domains")
        return {"name": self.name, "subject": self.subject, **{key: sorted(getattr(self, key)) for key in sets}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Person:
        """Raises KeyError for something else."""
        sets = {key: frozenset(map(str, data[key])) for key in ("groups", "organizations", "domains")}
        return cls(str(data["name"]), str(data["subject"]), **sets)


@dataclass(frozen=True)
class Rules:
    """Who may enter: admins, and whoever one of the others names and `block` does not. Nobody by default.

    ``stop``: whether the servers of somebody who may not enter any more are stopped.
    """

    admins: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    organizations: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    block: frozenset[str] = frozenset()
    everybody: bool = False
    stop: bool = field(default=True)

    def why_not(self, person: Person) -> str | None:
        """`BLOCKED`, `NOT_LISTED`, or None for somebody who may enter."""
        if person.name in self.block:
            return BLOCKED
        by_name = self.everybody or person.name in self.admins or person.name in self.names
        if by_name or self.groups & _lower(person.groups):
            return None
        if self.organizations & person.organizations or self.domains & person.domains:
            return None
        return NOT_LISTED

    @property
    def asks(self) -> frozenset[str]:
        """What a provider has to tell of people beside their names."""
        return frozenset(key for key in ("groups", "organizations", "domains") if getattr(self, key))

    def to_text(self) -> str:
        """The file's content: the same text for the same rules."""
        data = {one.name: getattr(self, one.name) for one in fields(self)}
        plain = {key: value if isinstance(value, bool) else sorted(value) for key, value in data.items()}
        return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Rules:
        """The rules of a file's content. Raises ValueError for anything else."""
        data = json.loads(text)
        if not isinstance(data, dict) or set(data) != {one.name for one in fields(cls)}:
            raise ValueError("not a file of rules")
        usual = cls()
        if any(isinstance(value, bool) != isinstance(getattr(usual, key), bool) for key, value in data.items()):
            raise ValueError("not a file of rules")
        if not all(isinstance(value, (bool, list)) for value in data.values()):
            raise ValueError("not a file of rules")
        values: dict[str, Any] = {
            key: value if isinstance(value, bool) else frozenset(map(str, value)) for key, value in data.items()
        }
        return cls(**values)


def _lower(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)
