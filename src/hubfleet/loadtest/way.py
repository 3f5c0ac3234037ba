"""How a hub is reached, where its address alone does not say it."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver


@dataclass(frozen=True)
class Way:
    """``door``: a Unix socket that the hub is reached at, whatever its address. ``host``: the machine that its name is
    taken to lead to. ``certificate``: one (PEM) that is trusted beside those that this machine trusts."""

    door: str = ""
    host: str = ""
    certificate: str = ""

    def connector(self, limit_per_host: int = 0) -> aiohttp.BaseConnector:
        """What a session connects by; of as many connections as are told, 0 for any number."""
        if self.door:
            return aiohttp.UnixConnector(self.door, limit_per_host=limit_per_host)
        how: dict[str, Any] = {"limit_per_host": limit_per_host}
        if self.host:
            how["resolver"] = _Leads(self.host)
        if self.certificate:
            how["ssl"] = self._trusted()
        return aiohttp.TCPConnector(**how)

    def _trusted(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.load_verify_locations(cadata=self.certificate)
        # It is trusted for itself, without the one that signed it. Its names and its end are looked at as ever.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


class _Leads(AbstractResolver):
    """Takes every name for that of one machine."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._usual = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await self._usual.resolve(self._host, port, family)
        return [{**one, "hostname": host} for one in found]

    async def close(self) -> None:
        await self._usual.close()
