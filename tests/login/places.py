"""A running hub with a provider of OpenID Connect, and its settings."""

from __future__ import annotations

from dataclasses import dataclass

from harness import RunningHub
from visitors import Visitor, configure

from providers import OpenId


@dataclass
class Place:
    """A running hub, its provider, and the client that it is there."""

    hub: RunningHub
    provider: OpenId
    client: str
    secret: str

    def visitor(self, name: str) -> Visitor:
        return Visitor(self.hub, name)

    def login(self, more: str, **settings: str) -> str:
        """The settings for this provider; ``more``: lines below `login`."""
        given = {"issuer": self.provider.url, "client_id": self.client, **settings}
        inner = ", ".join(f"{key}: {value}" for key, value in given.items())
        return f"  oidc: {{{inner}, title: Example University, groups_claim: groups}}\n{more}"

    def set(self, more: str, **settings: str) -> None:
        """Change what is below `login`; `hub.up` brings it to the hub."""
        configure(self.hub, self.login(more, **settings), self.secret)


RULES = """\
  admins: [profx]
  allow: {users: [ada, ben, cem, profx], groups: [Physics], domains: [staff.example], file: people.txt}
  block: [mallory]
"""
