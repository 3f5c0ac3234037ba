"""Requests that every start makes, without looking up twice in the database who makes them."""

from __future__ import annotations

from typing import Any

from jupyterhub.apihandlers.users import ActivityAPIHandler, SpawnProgressAPIHandler, UserServerAPIHandler
from jupyterhub.user import User


class AboutOneself:
    """A person or a server that asks about itself: who asks is known by then, from the token or the cookie."""

    current_user: Any

    def find_user(self, name: str) -> Any:
        """As in JupyterHub: the person of this name, or None."""
        if isinstance(self.current_user, User) and self.current_user.name == name:
            return self.current_user
        return super().find_user(name)  # type: ignore[misc]


class Server(AboutOneself, UserServerAPIHandler):
    """Start and stop a server."""


class Progress(AboutOneself, SpawnProgressAPIHandler):
    """How far a start is."""


class Activity(AboutOneself, ActivityAPIHandler):
    """A server tells when it was last used."""


HANDLERS = [
    (r"/api/users/([^/]+)/server", Server),
    (r"/api/users/([^/]+)/servers/([^/]*)", Server),
    (r"/api/users/([^/]+)/server/progress", Progress),
    (r"/api/users/([^/]+)/servers/([^/]*)/progress", Progress),
    (r"/api/users/([^/]+)/activity", Activity),
]
"""At the addresses of JupyterHub's own."""
