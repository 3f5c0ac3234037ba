"""Accounts of a Tapis tenant, or of one of its forerunner Agave (version 2)."""

from __future__ import annotations

from typing import Any

from oauthenticator.oauth2 import OAuthenticator

from hubfleet.admission import Person
from hubfleet.hub.providers.base import Vouched
from hubfleet.hub.providers.web import Silent


class Tapis(Vouched, OAuthenticator):
    """Both versions answer in an envelope of `status`, `message` and `result`; in version 3 tokens do so, too.

    People are known by their name there, as it is written: the tenant has no other sign of them.
    """

    user_auth_state_key = "tapis_user"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.basic_auth = True
        self.username_claim = "username"
        self.scope = ["PRODUCTION"] if self.told["version"] == 2 else []

    def unwrapped(self, info: dict[str, Any]) -> dict[str, Any]:
        """Of version 3, the tokens in its envelope."""
        result = info.get("result")
        if self.told["version"] == 2 or not isinstance(result, dict):
            return {"error": "server_error", **info} if info.get("status") == "error" else info
        tokens: dict[str, Any] = {}
        for kind in ("access_token", "refresh_token"):
            found = result.get(kind)
            if isinstance(found, dict) and isinstance(found.get(kind), str):
                tokens[kind] = found[kind]
                if kind == "access_token":
                    tokens["expires_in"] = found.get("expires_in")
        return tokens

    def build_userdata_request_headers(self, access_token: str, token_type: str) -> dict[str, str]:
        """As in oauthenticator; version 3 has a header of its own for tokens."""
        headers: dict[str, str] = super().build_userdata_request_headers(access_token, token_type)
        if self.told["version"] == 3:
            headers["X-Tapis-Token"] = access_token
            del headers["Authorization"]
        return headers

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        """What is in the envelope. Raises Silent for one that does not tell of success."""
        told = await super().token_to_user(token_info)
        result = told.get("result") if isinstance(told, dict) else None
        if not isinstance(result, dict) or told.get("status") != "success":
            raise Silent(f"{self.userdata_url} did not tell of a person")
        return result

    def person(self, name: str, told: dict[str, Any], state: dict[str, Any]) -> Person:
        """Nothing beside the name."""
        return Person(name, str(told["username"]))

    def beside_token(self, state: dict[str, Any]) -> dict[str, Any]:
        """The tenant, and how it spells the name."""
        found = {key: self.told[key] for key in ("tenant", "version", "base_url")}
        return {**found, "kind": "tapis", "username": str(state[self.user_auth_state_key]["username"])}
