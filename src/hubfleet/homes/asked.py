"""The service that keeps homes, asked by the launcher: over a Unix socket, or from another machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from hubfleet.config.owner import Owner
from hubfleet.homes.keeper import Archive, Home, NoHome
from hubfleet.homes.making import HomeFailed
from hubfleet.homes.tls import client_context
from hubfleet.link import NAME

LIMIT_S = 60.0
"""Of one question: a file system may be slow."""
PATIENCE_S = 10.0
"""How long a service is waited for that does not answer: it may be just being replaced."""
_AGAIN_S = 0.25
_CONNECT_S = 5.0
_NO_HOME = 404


class Asked:
    """Implements `Homes`. ``line``: ``socket``, its Unix socket; or ``address`` and ``port``, and as files what each
    end shows the other: ``certificate`` and ``key`` of this one, and the ``keeper``'s certificate."""

    def __init__(self, line: Mapping[str, Any]) -> None:
        self._line = line
        self._session: aiohttp.ClientSession | None = None
        away = "socket" not in line
        self._base = f"https://{line['address']}:{line['port']}" if away else "http://homes"
        self._name = NAME if away else None

    async def ensure(self, name: str, owner: Owner | None, group: str | None = None) -> Home:
        if owner is None:
            raise ValueError("the service makes homes for owners only")
        asked = {"uid": owner.uid, "gid": owner.gid, **({} if group is None else {"group": group})}
        return Home.from_json(await self._ask("PUT", f"/homes/{name}", asked))

    async def home(self, name: str) -> Home:
        return Home.from_json(await self._ask("GET", f"/homes/{name}"))

    async def report(self) -> list[Home]:
        return [Home.from_json(one) for one in (await self._ask("GET", "/homes"))["homes"]]

    async def archive(self, name: str) -> Archive:
        return Archive.from_json(await self._ask("POST", f"/homes/{name}/archive", limit=None))

    async def hold_all(self) -> None:
        """The service does so by itself, whenever it is given other limits."""

    async def close(self) -> None:
        """See ``Homes.close``."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, method: str, target: str, body: Any = None, limit: float | None = LIMIT_S) -> Any:
        end = time.monotonic() + PATIENCE_S
        timeout = aiohttp.ClientTimeout(total=limit, sock_connect=_CONNECT_S)
        while True:
            try:
                asking = self._open().request(
                    method, self._base + target, json=body, timeout=timeout, server_hostname=self._name
                )
                async with asking as answer:
                    told = await answer.json(content_type=None)
                    if answer.status == _NO_HOME:
                        raise NoHome(_words(told))
                    if answer.status >= 400:
                        raise HomeFailed(_words(told))
                    return told
            except asyncio.TimeoutError as error:
                what = f"the storage of homes has not answered within {limit or _CONNECT_S:.0f} seconds"
                raise HomeFailed(f"{what}. Please try again in a minute") from error
            # All that is asked for is the same when it is asked for twice.
            except (aiohttp.ClientError, OSError, ValueError) as error:
                if time.monotonic() > end:
                    what = f"the storage of homes cannot be asked now ({_why(error)})"
                    raise HomeFailed(f"{what}. Please try again in a minute") from error
            await asyncio.sleep(_AGAIN_S)

    def _open(self) -> aiohttp.ClientSession:
        """Made in the loop that asks."""
        if self._session is None:
            line = self._line
            if "socket" in line:
                connector: aiohttp.BaseConnector = aiohttp.UnixConnector(line["socket"])
            else:
                pinned = client_context(line["certificate"], line["key"], line["keeper"])
                connector = aiohttp.TCPConnector(ssl=pinned)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session


def _words(told: Any) -> str:
    said = told.get("error") if isinstance(told, dict) else None
    return str(said or "the storage of homes has said no")


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)
