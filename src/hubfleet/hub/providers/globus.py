"""Accounts of Globus."""

from __future__ import annotations

from typing import Any

from oauthenticator.globus import GlobusOAuthenticator
from oauthenticator.oauth2 import OAuthenticator, OAuthLogoutHandler

from hubfleet.admission import Person
from hubfleet.hub.providers.base import Vouched
from hubfleet.hub.providers.names import domain_of, stripped

GROUPS = "urn:globus:auth:scope:groups.api.globus.org:view_my_groups_and_memberships"


class Globus(Vouched, GlobusOAuthenticator):
    """People are known by `sub`. Tokens for file transfers are not asked for."""

    logout_handler = OAuthLogoutHandler

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.globus_groups_url = self.told["groups_url"]
        self.scope = ["openid", "profile", "email", *([GROUPS] if "groups" in self.told["asks"] else [])]

    def build_auth_state_dict(self, token_info: dict[str, Any], user_info: dict[str, Any]) -> dict[str, Any]:
        """As for all: oauthenticator's own form has no place for a token to renew others with."""
        state: dict[str, Any] = OAuthenticator.build_auth_state_dict(
            self, {"other_tokens": [], **token_info}, user_info
        )
        return state

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        """The whole name, unless there is one domain only. Raises HTTPError for an account of another."""
        name, only = Vouched.user_info_to_username(self, user_info), self.told["identity_provider"]
        if only and domain_of(name) != {only}:
            self.log.warning("Log-in failed: only accounts of %s may be used", only)
            raise self.words.elsewhere()
        return stripped(name, only)

    async def update_auth_model(self, auth_model: Any) -> Any:
        """With the groups, which a token of their own opens."""
        state = auth_model["auth_state"]
        found = []
        if "groups" in self.told["asks"]:
            tokens = self.get_globus_tokens(state["token_response"])
            if any(token["resource_server"] == "groups.api.globus.org" for token in tokens):
                found = sorted(await self._fetch_users_groups(tokens))
            else:
                self.log.warning("%s gave no token that tells of groups", self.provider)
        state["groups"] = found
        return await super().update_auth_model(auth_model)

    def person(self, name: str, told: dict[str, Any], state: dict[str, Any]) -> Person:
        """Groups by their ids."""
        own = str(told[str(self.username_claim)])
        return Person(name, str(told["sub"]), groups=frozenset(state["groups"]), domains=domain_of(own))
