"""Any provider of OpenID Connect. Its addresses are in a document of its own, which is asked for when it is needed."""

from __future__ import annotations

import time
from typing import Any

from oauthenticator.generic import GenericOAuthenticator
from tornado.httpclient import HTTPClientError

from hubfleet.admission import Person
from hubfleet.hub.providers.base import Vouched
from hubfleet.hub.providers.web import Silent

DISCOVERY = "/.well-known/openid-configuration"
ANEW_S = 3600.0
"""How long its addresses are taken as they were told."""
_ADDRESSES = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")


class Oidc(Vouched, GenericOAuthenticator):
    """People are known by `sub` at the issuer."""

    _asked = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scope = list(self.told["scopes"])
        self.username_claim = self.told["username_claim"]

    async def ready(self) -> None:
        """Learn the addresses, if they are not known or known for long. Raises Silent while they are not."""
        if self._asked and time.monotonic() - self._asked < ANEW_S:
            return
        issuer = self.told["issuer"]
        try:
            document = await self.httpfetch(f"{issuer}{DISCOVERY}", "asking for its addresses")
            self._take(issuer, document)
        except (Silent, HTTPClientError) as error:
            if not self.token_url:
                raise Silent(f"{issuer}{DISCOVERY}: {error}") from error
            self.log.warning("The addresses of %s are taken as they were: %s", issuer, error)
        self._asked = time.monotonic()

    def _take(self, issuer: str, document: Any) -> None:
        if not isinstance(document, dict) or str(document.get("issuer", "")).rstrip("/") != issuer:
            raise Silent("it is the document of another issuer")
        found = [document.get(name) for name in _ADDRESSES]
        if not all(isinstance(address, str) and address for address in found):
            raise Silent(f"it tells no {', '.join(_ADDRESSES)}")
        self.authorize_url, self.token_url, self.userdata_url = map(str, found)
        methods = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        self.basic_auth = "client_secret_post" not in methods

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        """An address that the provider says it has not verified is nobody's name. Raises HTTPError."""
        name = super().user_info_to_username(user_info)
        if self.told["username_claim"] == "email" and user_info.get("email_verified") in (False, "false"):
            self.log.error("Log-in failed: %s has not verified an e-mail address", self.provider)
            raise self.words.unverified()
        return name

    def person(self, name: str, told: dict[str, Any], state: dict[str, Any]) -> Person:
        """Its e-mail address counts when the provider has verified it."""
        claim, mail = self.told["groups_claim"], str(told.get("email", ""))
        groups = told.get(claim, ()) if claim else ()
        groups = groups if isinstance(groups, list) else [groups] if groups else []
        sure = told.get("email_verified") in (True, "true") and "@" in mail
        return Person(
            name,
            str(told["sub"]),
            groups=frozenset(map(str, groups)),
            domains=frozenset([mail.rpartition("@")[2].lower()] if sure else []),
        )

    def beside_token(self, state: dict[str, Any]) -> dict[str, Any]:
        """Whose token it is."""
        name = state[self.user_auth_state_key].get(self.told["username_claim"], "")
        return {"kind": "oidc", "issuer": self.told["issuer"], "username": str(name)}
