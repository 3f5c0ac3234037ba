"""The stock proxy, watched: one that is started again has the routes it kept (proxy-routes.cjs), and gets the rest."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
from jupyterhub.proxy import ConfigurableHTTPProxy
from tornado.ioloop import PeriodicCallback

LOOK_EVERY_S = 1.0


class WatchedProxy(ConfigurableHTTPProxy):
    """JupyterHub itself looks only every five minutes at a proxy that it did not start."""

    _watch: PeriodicCallback | None = None
    _seen: tuple[int, ...] = ()

    async def check_routes(self, user_dict: Any, service_dict: Any, routes: Any = None) -> None:
        """As in JupyterHub, which calls this at its start; from then on the proxy is watched."""
        if self._watch is None:
            self._watch = PeriodicCallback(partial(self._look, user_dict, service_dict), LOOK_EVERY_S * 1000)
            self._watch.start()
        await super().check_routes(user_dict, service_dict, routes)

    async def _look(self, user_dict: Any, service_dict: Any) -> None:
        try:
            socket = _identity(self.api_url)
            if socket == self._seen:
                return  # the same process as before: it makes its socket when it starts, and keeps its routes
            routes = await self.get_all_routes()
            if self.app.hub.routespec not in routes:
                self.log.warning("The proxy has forgotten its routes (it was restarted); it gets them back")
            await self.check_routes(user_dict, service_dict, routes)
            self._seen = socket
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            self.log.warning("The proxy cannot be asked: %s", error)


def _identity(address: str) -> tuple[int, ...]:
    """What tells this socket from another one at the same place. Raises OSError where there is none."""
    found = os.stat(unquote(urlsplit(address).netloc))
    return found.st_dev, found.st_ino, found.st_ctime_ns
