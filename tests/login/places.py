"""A running hub with a provider of OpenID Connect, and its settings."""

from __future__ import annotations

from dataclasses import dataclass

from harness import RunningHub
from playwright.sync_api import Page
from visitors import Visitor, configure
from windows import Window

from providers import OpenId

BUTTON = "Log in with Example University"


@dataclass
class Place:
    """A running hub, its provider, and the client that it is there."""

    hub: RunningHub
    provider: OpenId
    client: str
    secret: str

    def visitor(self, name: str) -> Visitor:
        return Visitor(self.hub, name)

    def come_in(self, mine: Window, name: str, target: str = "/", **claims: object) -> Page:
        """Log in as somebody in a browser, as its pages and the provider's ask for it."""
        self.provider.add(f"s-{name}", **{"preferred_username": name, **claims})
        page = mine.open(target)
        page.get_by_role("button", name=BUTTON).click()
        page.get_by_placeholder("sub").fill(f"s-{name}")
        page.get_by_role("button", name="Authorize", exact=True).click()
        return page

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
