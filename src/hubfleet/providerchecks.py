"""Whether a provider of logins answers, and knows the hub: asked before anything is changed.

What a provider says for certain (it does not know the client, its secret, or the address that people come back to) is
a problem. That it does not answer now is none: it may in a minute, and other changes need not wait for it.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from hubfleet.checks import Finding
from hubfleet.config import Config
from hubfleet.config.campus import Directory, Platform
from hubfleet.config.providers import Google, Oidc, Tapis
from hubfleet.config.vouching import Endpoints, Provider
from hubfleet.googlegroups import ServiceKey, busy, question, refusal

LIMIT_S = 10.0
_LIMIT_BYTES = 1024**2
_CODE = "hubfleet-check"
"""What stands in place of a code. That it is wrong, a provider says only to a client that it knows."""

_NOT_THE_CLIENT = {"invalid_client", "unauthorized_client", "incorrect_client_credentials", "bad_client"}
_NOT_THE_CALLBACK = {"redirect_uri_mismatch", "invalid_redirect_uri", "invalid_callback"}
_NOT_THE_CODE = {"invalid_grant", "bad_verification_code"}


@dataclass(frozen=True)
class Answered:
    """What a provider said: the status, where it sends people, and the fields of its answer."""

    status: int
    location: str
    fields: dict[str, Any]

    @property
    def error(self) -> str:
        """The code of OAuth's, "" for none."""
        asked = parse_qs(urlsplit(self.location).query)
        # The second name is that of tenants of version 2, which send people to a page of their own.
        shown = [*asked.get("error", ()), *asked.get("oauthErrorCode", ())]
        told = shown[-1] if shown else self.fields.get("error", "")
        return told if isinstance(told, str) else ""


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def provider_checks(config: Config, secret: str, callback: str, url: str, google_key: str = "") -> Iterator[Finding]:
    """What the provider says of this hub, as seen from this machine.

    ``secret``: the client's. ``callback``: where it is to send people back to. ``url``: the hub's own address.
    ``google_key``: of the service account that asks Google for groups.
    """
    provider = config.login.provider
    if isinstance(provider, Google) and google_key:
        yield from _workspace(config, provider, google_key)
    if not isinstance(provider, Directory) and not callback.startswith(f"{url}/"):
        path = f"login.{config.login.kind}.callback"
        yield Finding(
            "note",
            f"{config.line(path)}{path}: people come back to {callback}, and this hub is at {url}. "
            "That is right only where another web server passes them on",
        )
    if isinstance(provider, Directory):
        yield from _directory(config, provider)
    if isinstance(provider, Platform):
        yield from _platform(config, provider, callback)
    if not isinstance(provider, Provider) or not provider.client_id or not secret:
        return
    path = f"login.{config.login.kind}"
    at, name = f"{config.line(path)}{path}", provider.called
    try:
        endpoints, basic = provider.endpoints(), isinstance(provider, Tapis)
        if endpoints is None:
            endpoints, basic = _discovered(config, provider)
        token = ask(config, endpoints.token, *_exchange(provider.client_id, secret, callback, basic=basic))
        go = ask(config, _asked_with(endpoints.authorize, provider.client_id, callback))
    except _Wrong as error:
        yield Finding("problem", f"{at}: {error}")
        return
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", None) or error
        yield Finding("note", f"{at}: {name} does not answer ({why}); nobody can log in before it does")
        return
    known = [*_of_the_client(token, at, name), *_of_the_callback(token, go, at, name, callback)]
    yield from known
    if not known:
        sure = (
            "knows this hub"
            if token.error in _NOT_THE_CODE
            else "does not say before a log-in whether it knows this hub"
        )
        yield Finding("ok", f"{name} answers, and {sure}; people come back to {callback}")


def _directory(config: Config, provider: Directory) -> Iterator[Finding]:
    address = urlsplit(provider.url)
    port = address.port or (636 if address.scheme == "ldaps" else 389)
    try:
        socket.create_connection((address.hostname or "", port), timeout=LIMIT_S).close()
    except OSError as error:
        what = f"{config.line('login.ldap')}login.ldap: {provider.url} does not answer ({error})"
        yield Finding("note", f"{what}; nobody can log in before it does")
    else:
        yield Finding("ok", f"{provider.url} answers")


def _platform(config: Config, provider: Platform, callback: str) -> Iterator[Finding]:
    at = f"{config.line('login.lti')}login.lti"
    try:
        found = ask(config, provider.jwks_url)
    except (OSError, HTTPException) as error:
        yield Finding("note", f"{at}: {provider.called} does not answer ({error}); nobody can log in before it does")
        return
    if isinstance(found.fields.get("keys"), list):
        yield Finding("ok", f"{provider.called} shows its keys; its log-ins have to end at {callback}")
    else:
        what = f"{provider.jwks_url} does not show the platform's keys (status {found.status})"
        yield Finding("problem", f"{at}: {what}. Try: the address of its key set (JWKS)")


def _workspace(config: Config, provider: Google, text: str) -> Iterator[Finding]:
    """Whether groups may be asked for: of the administrator's, since nobody else is known here."""
    told = provider.workspace()
    try:
        key = ServiceKey.from_text(text)
    except ValueError:
        return  # it is said among what the hub lacks
    if told is None:
        return
    at = f"{config.line('login.google.groups')}login.google.groups"
    administrator, address = told["administrator"], told["token"] or key.address
    try:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        found = ask(config, address, key.asking(administrator, address, time.time()), form)
        token = found.fields.get("access_token")
        if found.status == 200 and isinstance(token, str):
            shown = {"Authorization": f"Bearer {token}"}
            found = ask(config, question(told["groups"], administrator), headers=shown)
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", None) or error
        what = f"{at}: Google's directory does not answer ({why})"
        yield Finding("note", f"{what}; nobody comes in by a group before it does")
        return
    if found.status == 200 and {"kind", "groups"} & set(found.fields):
        yield Finding("ok", f"Google tells {key.account} of people's groups, in the name of {administrator}")
    else:
        what = f"{at}: {refusal(found.status, found.fields, key, administrator)}"
        yield Finding("note" if busy(found.status, found.fields) else "problem", what)


class _Wrong(Exception):
    """What is wrong, and what to type."""


def _of_the_client(token: Answered, at: str, name: str) -> Iterator[Finding]:
    if token.error in _NOT_THE_CLIENT or (token.status == 401 and token.error not in _NOT_THE_CODE):
        yield Finding(
            "problem",
            f"{at}: {name} does not accept this hub's client_id with its client_secret. "
            "Try: compare both with what it shows for this client",
        )


def _of_the_callback(token: Answered, go: Answered, at: str, name: str, callback: str) -> Iterator[Finding]:
    told = {token.error, go.error}
    refused = go.status in (400, 404) or "/oauth/error" in go.location
    if token.error in _NOT_THE_CLIENT or not (told & _NOT_THE_CALLBACK or refused or go.error in _NOT_THE_CLIENT):
        return
    if token.error not in _NOT_THE_CODE and not told & _NOT_THE_CALLBACK:
        # It does not say whether it is the client or the address.
        what, remedy = (
            "does not take log-ins of this client_id that come back to",
            "compare the client_id, and register",
        )
    else:
        what, remedy = "does not send people back to", "register"
    yield Finding("problem", f"{at}: {name} {what} {callback}. Try: {remedy} exactly this address as callback there")


def _discovered(config: Config, provider: Any) -> tuple[Endpoints, bool]:
    """The addresses that a provider of OpenID Connect tells, and whether it takes a secret in a header only.

    Raises _Wrong, and OSError if it does not answer.
    """
    issuer = provider.issuer if isinstance(provider, Oidc) else ""
    where = f"{issuer}/.well-known/openid-configuration"
    found = ask(config, where)
    told = [found.fields.get(f"{name}_endpoint") for name in ("authorization", "token", "userinfo")]
    if str(found.fields.get("issuer", "")).rstrip("/") != issuer or not all(isinstance(one, str) for one in told):
        said = f"it is the one of {found.fields['issuer']}" if found.fields.get("issuer") else f"status {found.status}"
        raise _Wrong(f"{where} is not the document of this issuer ({said}). Try: the issuer as its provider writes it")
    methods = found.fields.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return Endpoints(*map(str, told)), "client_secret_post" not in methods


def _exchange(client: str, secret: str, callback: str, *, basic: bool) -> tuple[bytes, dict[str, str]]:
    """Body and headers of the request that a code is exchanged with; ``basic``: the secret is in a header."""
    form = {"grant_type": "authorization_code", "code": _CODE, "redirect_uri": callback, "code_verifier": _CODE * 4}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if basic:
        coded = base64.b64encode(f"{client}:{secret}".encode()).decode()
        headers["Authorization"] = f"Basic {coded}"
    else:
        form |= {"client_id": client, "client_secret": secret}
    return urlencode(form).encode(), headers


def _asked_with(authorize: str, client: str, callback: str) -> str:
    query = {"response_type": "code", "client_id": client, "redirect_uri": callback, "state": _CODE, "scope": "openid"}
    return f"{authorize}{'&' if '?' in authorize else '?'}{urlencode(query)}"


def ask(
    config: Config,
    address: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    method: str | None = None,
) -> Answered:
    """What an address answers; with a body it is told something. Redirects are not followed.

    Raises OSError and HTTPException if there is no answer.
    """
    trusted = ssl.create_default_context()
    if config.network.ca_bundle:
        trusted.load_verify_locations(str(config.network.ca_bundle))
    opener = urllib.request.build_opener(_Stay(), urllib.request.HTTPSHandler(context=trusted))
    sent = {"Accept": "application/json", "User-Agent": "hubfleet", **(headers or {})}
    if not address.startswith(("https://", "http://")):
        raise _Wrong(f"{address} is no address of a provider. Try: tell whoever runs it")
    request = urllib.request.Request(address, data=body, headers=sent, method=method)  # noqa: S310  # looked at right before
    try:
        with opener.open(request, timeout=LIMIT_S) as answer:
            return Answered(answer.status, "", _fields(answer.read(_LIMIT_BYTES)))
    except urllib.error.HTTPError as error:
        with error:
            if error.code >= 500:
                raise OSError(f"{urlsplit(address).netloc} answers {error.code}") from error
            return Answered(error.code, error.headers.get("Location", ""), _fields(error.read(_LIMIT_BYTES)))


def _fields(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
