"""A person's own token of the provider, for the person's own server, which asks with the token that it has of the hub.

The token that renews others stays in the hub, encrypted. The launcher sees neither.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.user import User
from jupyterhub.utils import compare_token
from tornado import web

from hubfleet.hub.providers.admitting import Ended
from hubfleet.hub.providers.web import Silent


class TokenAPI(APIHandler):
    """For servers only: no page, and none of the tokens that people give to programs of theirs, can have it."""

    async def get(self) -> None:
        """The token of the server's own user."""
        self.set_header("Cache-Control", "no-store")
        user = self._user_of_server()
        if not self.authenticator.told.get("tokens"):
            raise web.HTTPError(404, "servers get no tokens on this hub")
        try:
            self.write(await self.authenticator.token_for(user))
        except Ended as error:
            raise web.HTTPError(404, f"there is no token before the next log-in: {error}") from error
        except Silent as error:
            raise web.HTTPError(503, f"there is no token at the moment: {error}") from error

    def _user_of_server(self) -> User:
        """Whose server asks. Raises HTTPError for everybody else.

        A server that others may visit has tokens of theirs, too: those say who somebody is, and are not a server's own.
        A server's own is the one that it proves itself with to the hub when people log in to it.
        """
        user, shown = self.current_user, self.get_auth_token()
        if isinstance(user, User) and shown and any(_is_of(spawner, shown) for spawner in user.spawners.values()):
            return user
        raise web.HTTPError(403, "only a server may ask, for its own user")


def _is_of(spawner: Any, shown: str) -> bool:
    client = spawner.orm_spawner.oauth_client if spawner.active else None
    return bool(client and client.secret and compare_token(client.secret, shown))


HANDLERS = [("/api/hubfleet/token", TokenAPI)]
