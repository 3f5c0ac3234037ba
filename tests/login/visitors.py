"""People who log in at a provider, as browsers do it."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import requests
from harness import Person, RunningHub, await_that

from providers import OpenId


class Visitor(Person):
    """Somebody with a browser, and an API token once logged in."""

    def __init__(self, hub: RunningHub, name: str) -> None:
        super().__init__(hub, name, "")

    def go(self, target: str = "") -> str:
        """Press the button on the page of the log-in; returns where the provider is asked."""
        page = self.session.get(f"{self.hub.url}/hub/login{target}", timeout=30)
        assert page.status_code == 200, page.text
        found = re.search(r'id="login_provider"[^>]*href="([^"]+)"', page.text, re.DOTALL)
        assert found, page.text
        answer = self.session.get(urljoin(self.hub.url, unescape(found[1])), allow_redirects=False, timeout=30)
        return str(answer.headers["Location"]) if answer.status_code == 302 else answer.text

    def agree(self, address: str, provider: Any, sub: str | None = None) -> str:
        """Say yes at the provider; returns where it sends the browser back to."""
        if isinstance(provider, OpenId):
            answer = self.session.post(address, data={"sub": sub or self.name}, allow_redirects=False, timeout=30)
        else:
            provider.who = sub or self.name
            answer = self.session.get(address, allow_redirects=False, timeout=30)
        assert answer.status_code == 302, f"{answer.status_code}: {answer.text}"
        return str(answer.headers["Location"])

    def come_back(self, address: str) -> requests.Response:
        """The first answer of the hub to the browser that comes back."""
        return self.session.get(address, allow_redirects=False, timeout=30)

    def enter(self, provider: Any, sub: str | None = None, target: str = "") -> requests.Response:
        """All of it. ``sub``: who it is at the provider, if that is not the name."""
        answer = self.come_back(self.agree(self.go(target), provider, sub))
        if answer.status_code == 302:
            self._get_token()
        return answer

    def _get_token(self) -> None:
        self.session.get(f"{self.hub.url}/hub/home", timeout=30)
        made = self.session.post(
            f"{self.hub.url}/hub/api/users/{self.name}/tokens",
            headers={"X-XSRFToken": self.xsrf, "Referer": f"{self.hub.url}/hub/home"},
            json={"expires_in": 36000},
            timeout=30,
        )
        made.raise_for_status()
        self.token = made.json()["token"]

    def home(self) -> requests.Response:
        """The person's page, or what is answered instead."""
        return self.session.get(f"{self.hub.url}/hub/home", allow_redirects=False, timeout=30)

    @property
    def inside(self) -> bool:
        return self.home().status_code == 200


def words(answer: requests.Response) -> str:
    """What a person reads of a page, on one line."""
    text = re.sub(r"(?s)<(script|style|head).*?</\1>|<[^>]*>", " ", answer.text)
    return " ".join(unescape(text).split())


def log_of(hub: RunningHub) -> str:
    """All that the hub has said."""
    return (hub.logs / "hub.log").read_text(errors="replace")


def await_log(hub: RunningHub, said: str, before: int = 0) -> None:
    """Wait until the hub has said something. ``before``: where to look from."""
    await_that(f"the hub says {said!r}", lambda: said in log_of(hub)[before:])


def configure(hub: RunningHub, login: str, secret: str, callback: str = "") -> None:
    """Write the configuration, and the client's secret beside it."""
    hub.write(f"login:\n{login}")
    file = hub.folder / "hubfleet.secrets.yaml"
    file.write_text(f"client_secret: {secret}\n")
    file.chmod(0o600)


def callback(hub: RunningHub) -> str:
    """Where providers send people back to."""
    return f"{hub.url}/hub/oauth_callback"


def host(url: str) -> str:
    """What a setting takes of a server on this machine."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def tampered(address: str, **changed: str) -> str:
    """An address with other parameters; "" takes one away."""
    parts = urlsplit(address)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()} | changed
    return parts._replace(query=urlencode({key: value for key, value in query.items() if value})).geturl()
