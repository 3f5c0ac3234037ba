"""The hub as a client of a tenant of version 2: looked for there, and registered (`/clients/v2`).

A tenant tells a client's secret once, in the answer that makes it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from hubfleet.config import Config
from hubfleet.errors import ApplyError, CheckError
from hubfleet.providerchecks import Answered, ask
from hubfleet.units import Secret


@dataclass(frozen=True)
class Client:
    """One of an account's clients. ``secret``: only of one that was made right now."""

    name: str
    identifier: str
    callback: str
    secret: Secret | None = field(default=None, repr=False)


class Tenant:
    """Its clients, as a service account sees them. ``base``: the tenant's address."""

    def __init__(self, config: Config, base: str, account: str, password: Secret) -> None:
        self._config, self._address, self._host = config, f"{base}/clients/v2", urlsplit(base).netloc
        self._account = account
        coded = base64.b64encode(f"{account}:{password.reveal()}".encode()).decode()
        self._headers = {"Authorization": f"Basic {coded}"}

    def clients(self) -> list[Client]:
        """All of the account's. Raises CheckError if the account is refused, ApplyError if there is no answer."""
        found = self._asked(self._address)
        return [_client(entry) for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    def register(self, name: str, callback: str) -> Client:
        """Make a client. Raises as `clients`."""
        form = {"clientName": name, "callbackUrl": callback, "description": "JupyterHub, by hubfleet"}
        made = self._asked(self._address, urlencode(form).encode())
        client = _client(made if isinstance(made, dict) else {})
        if not client.identifier or client.secret is None:
            raise ApplyError(f"{self._host} answered without the client's id and secret", remedy="look for it there")
        return client

    def remove(self, name: str) -> None:
        """Remove a client. Raises as `clients`."""
        self._asked(f"{self._address}/{quote(name, safe='')}", method="DELETE")

    def _asked(self, address: str, body: bytes | None = None, method: str | None = None) -> Any:
        headers = {**self._headers, **({"Content-Type": "application/x-www-form-urlencoded"} if body else {})}
        try:
            answer = ask(self._config, address, body, headers, method)
        except (OSError, HTTPException) as error:
            why = getattr(error, "reason", None) or error
            raise ApplyError(f"{self._host} does not answer ({why})", remedy="the same again later") from error
        self._check(answer)
        return answer.fields.get("result")

    def _check(self, answer: Answered) -> None:
        if answer.status == 401:
            raise CheckError(
                f"{self._host} does not accept the account {self._account} with its password",
                state="Nothing was changed",
                remedy="compare login.tapis.account, and the secret oauth_password",
            )
        if answer.status >= 300 or answer.fields.get("status") != "success":
            said = str(answer.fields.get("message") or f"status {answer.status}")
            words = "".join(letter if letter.isprintable() else " " for letter in said)[:200]
            raise ApplyError(f"{self._host} refuses: {words}", remedy="mend that, then the same again")


def _client(entry: dict[str, Any]) -> Client:
    secret = entry.get("consumerSecret")
    name, key, callback = (str(entry.get(key) or "") for key in ("name", "consumerKey", "callbackUrl"))
    return Client(name, key, callback, Secret(secret) if isinstance(secret, str) and secret else None)
