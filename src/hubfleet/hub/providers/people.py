"""Who has come in by a provider, for those who run the hub: a page, and the same for the command line."""

from __future__ import annotations

from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from hubfleet.admission import Person


async def known_people(handler: Any) -> list[dict[str, Any]]:
    """Everybody: name, whether they may enter by the rules of now, and what the provider told last."""
    authenticator = handler.authenticator
    found: dict[str, dict[str, Any]] = {
        name: {"name": name, "approved": False, "removed": False, "person": None}
        for name in authenticator.claims.names(authenticator.provider)
    }
    for row in handler.db.query(orm.User):
        known = await authenticator.known_of(handler.users[row])
        if known is not None:
            allowed = not known.ended and authenticator.rules.why_not(known.person) is None
            told = known.person.to_json()
            found[row.name] = {"name": row.name, "approved": allowed, "removed": False, "person": told}
        elif row.name in found:
            found[row.name]["approved"] = authenticator.rules.why_not(Person(row.name)) is None
    return [found[name] for name in sorted(found)]


class PeoplePage(BaseHandler):
    """Who has come in; who may is in the configuration."""

    @web.authenticated
    @needs_scope("admin:users")
    async def get(self) -> None:
        """For those who run the hub."""
        self.finish(await self.render_template("vouched.html", people=await known_people(self)))


class PeopleAPI(APIHandler):
    """The same for the command line."""

    @needs_scope("admin:users")
    async def get(self) -> None:
        """All of them."""
        self.write({"people": await known_people(self)})

    @needs_scope("admin:users")
    async def post(self) -> None:
        """Refused: one place says who may enter."""
        raise web.HTTPError(
            409, "on this hub the configuration says who may enter: login.allow and login.block, then hubfleet up"
        )


HANDLERS = [("/people", PeoplePage), ("/api/hubfleet/people", PeopleAPI)]
