"""Accounts of GitHub, or of a GitHub Enterprise server."""

from __future__ import annotations

from typing import Any

from oauthenticator.github import GitHubOAuthenticator

from hubfleet.admission import Person
from hubfleet.hub.providers.base import Vouched


class GitHub(Vouched, GitHubOAuthenticator):
    """People are known by the number of their account: its name can be changed, and taken by another."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.github_api = self.told["api"]
        # Without a rule that needs it, nothing is asked for but who it is.
        self.scope = ["read:org"] if self.told["asks"] else []
        self.populate_teams_in_auth_state = "groups" in self.told["asks"]

    async def update_auth_model(self, auth_model: Any) -> Any:
        """As in oauthenticator, with the organizations beside the teams."""
        state = auth_model["auth_state"]
        if "organizations" in self.told["asks"]:
            token = state["token_response"]
            address = f"{self.github_api}/user/orgs?per_page=100"
            state["organizations"] = await self._paginated_fetch(address, token["access_token"], token["token_type"])
        state[self.user_auth_state_key].setdefault("email", None)
        return await super().update_auth_model(auth_model)

    def person(self, name: str, told: dict[str, Any], state: dict[str, Any]) -> Person:
        """Teams and organizations by their names in addresses."""
        teams = {f"{team['organization']['login']}/{team['slug']}".lower() for team in state.get("teams", ())}
        organizations = {one["login"].lower() for one in state.get("organizations", ())}
        return Person(name, str(told["id"]), groups=frozenset(teams), organizations=frozenset(organizations))
