"""Requests that every start makes, one after another, and without looking up twice in the database who makes them."""

from __future__ import annotations

from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers.users import ActivityAPIHandler, SpawnProgressAPIHandler, UserServerAPIHandler
from jupyterhub.handlers.pages import HomeHandler, SpawnHandler
from jupyterhub.user import User
from tornado import web

from hubfleet.hub import passwords
from hubfleet.hub.line import ask_again_s, ticket_of
from hubfleet.hub.spawner import Files
from hubfleet.hub.turns import InTurn


class AboutOneself:
    """A person or a server that asks about itself: who asks is known by then, from the token or the cookie."""

    current_user: Any

    def find_user(self, name: str) -> Any:
        """As in JupyterHub: the person of this name, or None."""
        if isinstance(self.current_user, User) and self.current_user.name == name:
            return self.current_user
        return super().find_user(name)  # type: ignore[misc]


class Server(InTurn, AboutOneself, UserServerAPIHandler):
    """Start and stop a server."""

    async def delete(self, user_name: str, server_name: str = "") -> None:
        """As in JupyterHub. What a service gives as ``why`` is told to the server's user."""
        user = self.find_user(user_name)
        why = (self.get_json_body() or {}).get("why")
        if (
            isinstance(self.current_user, orm.Service)
            and isinstance(why, str)
            and user
            and server_name in user.spawners
        ):
            user.spawners[server_name].stopped_for = why
        await super().delete(user_name, server_name)


class StartPage(InTurn, SpawnHandler):
    """What a browser asks when somebody presses Start."""

    starting_methods = ("GET", "POST")


class Progress(AboutOneself, SpawnProgressAPIHandler):
    """How far a start is."""


class Activity(AboutOneself, ActivityAPIHandler):
    """A server tells when it was last used."""


class Home(HomeHandler):
    """A person's page."""

    _files: Files | None = None

    @web.authenticated
    async def get(self) -> None:
        """As in JupyterHub, with how much is in the person's home."""
        self._files = await self.current_user.spawner.files()
        await super().get()

    def render_template(self, name: str, sync: bool = False, **names: Any) -> Any:
        """As in JupyterHub."""
        return super().render_template(name, sync=sync, files=self._files, **names)


class PlaceInLine(web.RequestHandler):
    """How many people are before a browser that waits: asked once a second by each, answered to anybody.

    Not one of JupyterHub's handlers: those look up who asks, and take back at their end what others have not saved.
    """

    def get(self) -> None:
        """``before``: None for a ticket that nobody waits with. ``what``: log-in or start."""
        ticket = ticket_of(self)
        answer: dict[str, Any] = {"before": None, "what": None}
        for what, line in (("start", InTurn.turns.line), ("log-in", passwords.line)):
            if ticket and (before := line.before(ticket)) is not None:
                answer = {"before": before, "what": what}
        self.set_header("Cache-Control", "no-store")
        self.write({**answer, "again_s": ask_again_s(answer["before"])})

    def _log(self) -> None:
        """Nothing: the hub's log would hold little else after a class."""


HANDLERS = [
    (r"/home", Home),
    (r"/spawn", StartPage),
    (r"/spawn/([^/]+)", StartPage),
    (r"/spawn/([^/]+)/([^/]+)", StartPage),
    (r"/api/users/([^/]+)/server", Server),
    (r"/api/users/([^/]+)/servers/([^/]*)", Server),
    (r"/api/users/([^/]+)/server/progress", Progress),
    (r"/api/users/([^/]+)/servers/([^/]*)/progress", Progress),
    (r"/api/users/([^/]+)/activity", Activity),
    (r"/api/hubfleet/line", PlaceInLine),
]
"""At the addresses of JupyterHub's own, and the place in line."""
