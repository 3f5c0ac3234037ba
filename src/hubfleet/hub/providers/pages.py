"""The way to the provider and back: what is checked of it, and what is said when it goes wrong."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from typing import Any

from oauthenticator.oauth2 import OAuthCallbackHandler, OAuthLoginHandler
from tornado import web

from hubfleet.hub.providers.web import Silent, one_line


class Going:
    """For handlers that send people to the provider."""

    authenticator: Any
    log: Any

    async def get(self) -> None:
        """As in oauthenticator; a provider that is away is told of here, not at an address that nobody answers."""
        try:
            await self.authenticator.ready()
        except Silent as error:
            self.log.error("Nobody can log in: %s", error)
            raise self.authenticator.words.silent() from error
        super().get()  # type: ignore[misc]


class Go(Going, OAuthLoginHandler):
    """To the provider."""


class Back(OAuthCallbackHandler):
    """People come back from the provider."""

    authenticator: Any

    async def get(self) -> None:
        """Check what is told, log in, and go on to where the person wanted to."""
        self.check_arguments()
        try:
            await self.authenticator.ready()
        except Silent as error:
            raise self.authenticator.words.silent() from error
        user = await self.login_user()
        if user is None:
            raise web.HTTPError(403, "You may not enter. Ask whoever runs this hub.")
        self.redirect(self.get_next_url(user))

    def check_arguments(self) -> None:
        """Raises HTTPError. The state comes first: what nobody here began is not looked at."""
        self.check_state()
        self.check_error()
        self.check_code()

    def check_state(self) -> None:
        """Refuse a log-in that this browser did not begin: somebody else's, or one that was tampered with."""
        begun, back = _state_id(self.get_state_cookie()), _state_id(self.get_argument("state", ""))
        if not begun or not back or not hmac.compare_digest(begun, back):
            what = "no log-in was begun in this browser" if not begun else "another log-in was begun in this browser"
            self.log.warning("Log-in refused: %s", what)
            raise self.authenticator.words.state()

    def check_error(self) -> None:
        """Tell in plain words what the provider sends people back with; its own are for the log only."""
        code = self.get_argument("error", "")
        if code:
            told = one_line(self.get_argument("error_description", ""))
            self.log.error("%s sends back with an error: %s %s", self.authenticator.provider, one_line(code), told)
            plain = code if code.replace("_", "").isalnum() and len(code) <= 60 else "unknown"
            raise self.authenticator.words.error(plain)

    def check_code(self) -> None:
        """Raises HTTPError without one."""
        if not self.get_argument("code", ""):
            self.log.error("%s sends back without a code", self.authenticator.provider)
            raise self.authenticator.words.error("")


def _state_id(text: str) -> str:
    """The number of a log-in in the text that goes to the provider and back, or in the cookie; "" for none."""
    try:
        found = json.loads(base64.urlsafe_b64decode(text.encode()))
    except (binascii.Error, ValueError):
        return ""
    identifier = found.get("state_id") if isinstance(found, dict) else None
    return identifier if isinstance(identifier, str) and identifier.isascii() else ""
