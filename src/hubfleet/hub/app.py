"""JupyterHub with less work for each start of a server: ``python -m hubfleet.hub.app``.

Everything that JupyterHub notes, checks and tells stays. What is left out is work for hubs of another kind.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.oauth.provider import JupyterHubOAuthServer, JupyterHubRequestValidator
from jupyterhub.utils import hash_token
from sqlalchemy.orm import sessionmaker
from tornado import netutil
from tornado.log import app_log
from traitlets import Unicode

from hubfleet import openfiles
from hubfleet.hub import database, handlers, upgrade
from hubfleet.hub.unwritable import telling


class OAuthServer(JupyterHubOAuthServer):
    """Knows the servers that people log in to by way of the hub."""

    def add_client(
        self,
        client_id: str,
        client_secret: str,
        redirect_uri: str,
        allowed_scopes: Iterable[str] | None = None,
        description: str = "",
    ) -> orm.OAuthClient:
        """Note a server, hashing its secret once; the caller commits, as JupyterHub does after each call.

        Hashing again and again makes up for secrets that can be guessed. A server's is its random token, of which
        JupyterHub itself keeps such a hash, among the tokens.
        """
        client = self.db.query(orm.OAuthClient).filter_by(identifier=client_id).one_or_none()
        if client is None:
            app_log.info("Creating oauth client %s", client_id)
            client = orm.OAuthClient(identifier=client_id)
            self.db.add(client)
        else:
            app_log.info("Updating oauth client %s", client_id)
        client.secret = hash_token(client_secret, rounds=orm.APIToken.generated_rounds) if client_secret else ""
        client.redirect_uri = redirect_uri
        client.description = description or client_id
        client.allowed_scopes = list(allowed_scopes or ())
        return client


class Hub(JupyterHub):
    """The application. Its options are JupyterHub's."""

    fleet_address = Unicode(help="IP address and port at which servers on other machines reach the hub.").tag(
        config=True
    )
    db: Any
    db_url: str
    http_server: Any
    session_factory: Any
    oauth_provider: Any
    handlers: Any

    def get_default_logging_config(self) -> Any:
        """Give the logger the level of the one handler it has: a record below is made only to be thrown away."""
        config = super().get_default_logging_config()
        config["loggers"][type(self).__name__]["level"] = config["handlers"]["console"]["level"]
        return config

    def init_db(self) -> None:
        """As in JupyterHub, with an upgrade and a session of ours."""
        database_file = Path(self.db_url.removeprefix("sqlite:///"))
        try:
            if upgrade.upgrade(database_file):
                app_log.info("The database has this JupyterHub's form now: %s", database_file)
        except upgrade.OfALaterHub as error:
            self.exit(error)
        super().init_db()
        self.db.close()
        self.session_factory = sessionmaker(class_=database.KeptConnection, **self.session_factory.kw)
        self.db = self.session_factory()

    def init_oauth(self) -> None:
        """As in JupyterHub, with a server of ours."""
        super().init_oauth()
        validator = JupyterHubRequestValidator(self.db, require_pkce=self.oauth_require_pkce)
        self.oauth_provider = OAuthServer(self.db, validator, token_expires_in=self.oauth_token_expires_in)

    def init_handlers(self) -> None:
        """As in JupyterHub, with ours before its own: the first one at an address answers. All tell of a full disk."""
        super().init_handlers()
        every = [*self.add_url_prefix(self.hub_prefix, handlers.HANDLERS), *self.handlers]
        self.handlers = [(path, telling(handler), *more) for path, handler, *more in every]

    async def start(self) -> None:
        """As in JupyterHub, with a door that a class gets through at once, and one more for other machines."""
        # There is no setting for this; JupyterHub takes the function from there when it starts.
        netutil.bind_unix_socket = functools.partial(netutil.bind_unix_socket, backlog=openfiles.BACKLOG)
        await super().start()
        if self.fleet_address:
            address, _, port = self.fleet_address.rpartition(":")
            self.http_server.add_sockets(netutil.bind_sockets(int(port), address, backlog=openfiles.BACKLOG))
            app_log.info("Servers on other machines reach the hub at %s", self.fleet_address)


if __name__ == "__main__":
    openfiles.raise_limit()
    Hub.launch_instance()
