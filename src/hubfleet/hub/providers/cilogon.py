"""Accounts of universities and others, by way of CILogon."""

from __future__ import annotations

from typing import Any

from oauthenticator.cilogon import CILogonLoginHandler, CILogonOAuthenticator

from hubfleet.admission import Person
from hubfleet.hub.providers.base import Vouched
from hubfleet.hub.providers.names import domain_of, stripped
from hubfleet.hub.providers.pages import Going


class Go(Going, CILogonLoginHandler):
    """To CILogon, with the identity providers to choose from."""


class CILogon(Vouched, CILogonOAuthenticator):
    """People are known by `sub`, and called by the claim that is named for their identity provider."""

    login_handler = Go

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._given = {one["id"]: one for one in self.told["identity_providers"]}
        self.idps = {
            key: {"username_derivation": {"username_claim": one["username_claim"]}} for key, one in self._given.items()
        }

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        """Raises HTTPError for an account of another identity provider, or one that tells no name."""
        return stripped(self._name(user_info), self._of(user_info)["strip_domain"])

    def _of(self, user_info: dict[str, Any]) -> dict[str, Any]:
        """What is said of the identity provider."""
        given: dict[str, Any] | None = self._given.get(str(user_info.get("idp")))
        if given is None:
            self.log.warning("Log-in failed: accounts of %r may not be used", user_info.get("idp"))
            raise self.words.elsewhere()
        return given

    def _name(self, user_info: dict[str, Any]) -> str:
        claim = self._of(user_info)["username_claim"]
        name = user_info.get(claim)
        if not isinstance(name, str) or not name.strip():
            self.log.error("Log-in failed: %s told no %s, but: %s", self.provider, claim, [*user_info])
            raise self.words.unknown()
        return name

    def person(self, name: str, told: dict[str, Any], state: dict[str, Any]) -> Person:
        """The domain is that of the name, which the identity provider answers for."""
        return Person(name, str(told["sub"]), domains=domain_of(self._name(told)))
