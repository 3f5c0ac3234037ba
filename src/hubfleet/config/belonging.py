"""Groups that somebody is in by what others say than the file: who vouches for people, and the hub's own admins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hubfleet.config.models import Config


@dataclass(frozen=True)
class Belonging:
    """Names of such groups. They count only where a group of the file says so.

    ``provider``: groups and teams of the provider, in lower case. ``hub``: groups of JupyterHub.
    """

    provider: frozenset[str] = frozenset()
    hub: frozenset[str] = frozenset()

    @classmethod
    def of(cls, provider: Iterable[str], hub: Iterable[str]) -> Belonging:
        return cls(frozenset(name.lower() for name in provider), frozenset(hub))


NOWHERE = Belonging()


def memberships(config: Config, user: str, belonging: Belonging = NOWHERE) -> dict[str, str]:
    """The user's groups, in file order, and what of each has the user in it: `members`, `provider` or `hub`."""
    found = {}
    for name, group in config.groups.items():
        if user in group.members:
            found[name] = "members"
        elif any(theirs.lower() in belonging.provider for theirs in group.provider):
            found[name] = "provider"
        elif group.hub and name in belonging.hub:
            found[name] = "hub"
    return found


def told_of(config: Config) -> tuple[str, ...]:
    """Who is listened to beside the file: `provider`, `hub`."""
    groups = config.groups.values()
    heard = {"provider": any(bool(group.provider) for group in groups), "hub": any(bool(group.hub) for group in groups)}
    return tuple(who for who, counts in heard.items() if counts)
