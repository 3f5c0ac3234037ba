"""Who says who people are: what all of them have in common, and the forms of what is written of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, PlainValidator

from hubfleet.config.fields import BadValue, Form
from hubfleet.config.owner import service_address, service_url
from hubfleet.config.section import Section, setting

CALLBACK = "/hub/oauth_callback"
"""Where a provider sends people back to, below the hub's address."""

LAUNCH = "/hub/lti13/oauth_callback"
"""The same for a learning platform."""

BASE = "https://agave.example.edu"

_CLIENT = re.compile(r"[!-~]{1,512}", re.ASCII)
_CLAIM = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}", re.ASCII)
_SCOPE = re.compile(r"[!#-\[\]-~]{1,256}", re.ASCII)


@dataclass(frozen=True)
class Endpoints:
    """Addresses of a provider: where people are sent, where their code is exchanged, and who they are."""

    authorize: str
    token: str
    person: str


def _client_id(raw: object) -> str:
    if isinstance(raw, (int, float)):
        raise BadValue(f"`{raw}` is read as a number, not as text", f'put it in quotes: "{raw}"')
    if isinstance(raw, str) and _CLIENT.fullmatch(raw):
        return raw
    raise BadValue("must be the id that the provider gave this hub, without spaces", "client_id: 4f1c0a9e7b")


def _claim(raw: object) -> str:
    if isinstance(raw, str) and _CLAIM.fullmatch(raw):
        return raw
    raise BadValue(f"`{raw}` is not the name of a claim", "preferred_username")


def _scope(raw: object) -> str:
    if isinstance(raw, str) and _SCOPE.fullmatch(raw):
        return raw
    raise BadValue(f"`{raw}` is not a scope", "openid")


def host_name(usual: str) -> PlainValidator:
    """For the name of a server that speaks HTTPS; on this machine, an address with `http://` will do."""
    address = service_address("https", "http", example=usual)

    def check(raw: object) -> str:
        text = raw if isinstance(raw, str) else ""
        full = text if "://" in text else f"https://{text}"
        found = address(full)
        if urlsplit(found).path:
            raise BadValue(f"`{text}`: give the name only", urlsplit(found).netloc)
        return found.removeprefix("https://")

    return PlainValidator(check)


def address_of(host: str) -> str:
    return host if "://" in host else f"https://{host}"


def _callback(address: str) -> str:
    if not urlsplit(address).path.endswith(CALLBACK):
        raise BadValue(f"`{address}` is not the hub's", f"https://hub.example.edu{CALLBACK}")
    return address


Claim = Annotated[str, PlainValidator(_claim), Form("claim")]
ClientId = Annotated[str, PlainValidator(_client_id), Form("id")]
Scope = Annotated[str, PlainValidator(_scope), Form("scope")]
Issuer = Annotated[str, service_url("https", "http", example="https://login.example.edu"), Form("https address")]
BaseUrl = Annotated[str, service_url("https", "http", example=BASE), Form("https address")]
CallbackUrl = Annotated[
    str,
    service_url("https", "http", example=f"https://hub.example.edu{CALLBACK}"),
    AfterValidator(_callback),
    Form("https address"),
]


class Voucher(Section):
    """Whoever says who people are."""

    title_: ClassVar[str] = ""
    tells: ClassVar[tuple[str, ...]] = ()
    """Which rules of `login.allow` it can answer, beside names."""

    @property
    def called(self) -> str:
        """Its name on the button."""
        return self.title_

    @property
    def place(self) -> str:
        """What tells it from others of its kind as long as it exists: names belong to accounts of one of them."""
        raise NotImplementedError

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets that it is shown."""
        return ()

    def asked(self) -> tuple[str, ...]:
        """Addresses that the hub itself asks, one of each host."""
        raise NotImplementedError

    def told(self) -> dict[str, Any]:
        """What the hub is told, beside what all have; JSON-able and without secrets."""
        return {}


class Provider(Voucher):
    """Whoever does so by OAuth: what these have in common."""

    client_id: ClientId = setting(..., "The id that the provider gave this hub.", "4f1c0a9e7b")
    callback: CallbackUrl | None = setting(
        None,
        f"Where people are sent back to, as it is registered there. Default: the hub's address and {CALLBACK}.",
        f"https://hub.example.edu{CALLBACK}",
    )

    @property
    def place(self) -> str:
        endpoints = self.endpoints()
        return urlsplit(endpoints.authorize).netloc if endpoints else ""

    @property
    def secrets(self) -> tuple[str, ...]:
        return ("client_secret",)

    def endpoints(self) -> Endpoints | None:
        """Its addresses; None where it has a document that tells them."""
        raise NotImplementedError

    def asked(self) -> tuple[str, ...]:
        endpoints = self.endpoints()
        found = (endpoints.token, endpoints.person) if endpoints else ()
        return tuple({urlsplit(address).netloc: address for address in found}.values())
