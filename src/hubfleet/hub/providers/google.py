"""Accounts of Google, and groups of a workspace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from oauthenticator.google import GoogleOAuthenticator
from traitlets import Unicode

from hubfleet.admission import NOT_LISTED, Person
from hubfleet.hub.providers.admitting import STATE, Over
from hubfleet.hub.providers.base import Vouched
from hubfleet.hub.providers.names import stripped
from hubfleet.hub.providers.web import Silent
from hubfleet.hub.providers.workspace import Workspace


class Google(Vouched, GoogleOAuthenticator):
    """People are known by the number of their account, and called by their e-mail address."""

    workspace_key = Unicode(help="Of the service account that asks for groups.").tag(config=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        wanted = self.told["workspace"] if "groups" in self.told["asks"] else None
        self._workspace = Workspace(wanted, self.workspace_key, self.http_client, self.log) if wanted else None

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        """Only an address that Google has verified is a name. Raises HTTPError."""
        name = Vouched.user_info_to_username(self, user_info)
        if user_info.get("verified_email", user_info.get("email_verified")) is not True:
            self.log.error("Log-in failed: %s has not verified an e-mail address", self.provider)
            raise self.words.unverified()
        user_info["domain"] = name.rpartition("@")[2].lower()  # oauthenticator's own code looks for it
        return stripped(name, self.told["strip_domain"])

    def person(self, name: str, told: dict[str, Any], state: dict[str, Any]) -> Person:
        """`hd` is the workspace that the account belongs to; an address alone does not tell."""
        domain = str(told.get("hd", "")).lower()
        return Person(name, str(told.get("sub") or told["id"]), domains=frozenset([domain] if domain else []))

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        """As for all, with the groups. While nobody tells of them, who may enter only by one may not. Raises HTTPError.

        Others may: they are in no group then, until it is asked again.
        """
        model = await super().authenticate(handler, data, **kwargs)
        state = model["auth_state"] if data is None else None
        if state is None or self._workspace is None:
            return model
        try:
            model["auth_state"] = await self._with_groups(self._workspace, state)
        except Silent as error:
            self.log.error("The groups of %s are not known: %s", model["name"], error)
            if self.rules.why_not(Person.from_json(state[STATE]["person"])) == NOT_LISTED:
                raise self.words.groups() from error
        return model

    async def told_anew(self, user: Any) -> dict[str, Any]:
        """As for all, with the groups: these also when the person's own token is over, which cannot be renewed."""
        if self._workspace is None:
            return await super().told_anew(user)
        try:
            state = await super().told_anew(user)
        except Over:  # after an hour, and there is none to renew it with
            state = dict(await user.get_auth_state())
        return await self._with_groups(self._workspace, state)

    async def _with_groups(self, workspace: Workspace, state: dict[str, Any]) -> dict[str, Any]:
        """What is kept of somebody, with the groups of now. Raises Silent.

        Whose account is of no workspace is in none: its address may have been anybody's when it was made.
        """
        person = Person.from_json(state[STATE]["person"])
        groups = await workspace.groups_of(person.subject) if person.domains else frozenset()
        return {**state, **self.state_of(replace(person, groups=groups))}
