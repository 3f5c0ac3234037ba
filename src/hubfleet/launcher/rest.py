"""Asking a service by REST, as one that trusts it little: a limited time, a limited answer, no other place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
from yarl import URL

LIMIT_S = 10.0
"""How long a whole question may take."""
MOST_BYTES = 1 << 20


class NoAnswer(Exception):
    """There is no answer to rely on; the text says why, in a few words and without secrets."""


class TooSlow(NoAnswer):
    """There was no answer in time."""


class Rest:
    """Asks one service. Its connections are made when it is first asked, in the loop that asks."""

    def __init__(self, limit: float = LIMIT_S) -> None:
        self._limit = limit
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Status and JSON of an answer (None where it is no JSON). Raises NoAnswer."""
        if self._session is None:
            # The site's proxy, where the environment names one.
            self._session = aiohttp.ClientSession(trust_env=True, timeout=aiohttp.ClientTimeout(total=self._limit))
        try:
            # To another place the password would go along.
            given = {"Accept": "application/json", **headers}
            asked = self._session.get(URL(url, encoded=True), headers=given, allow_redirects=False)
            async with asked as response:
                return response.status, _json(await _body(response))
        except asyncio.TimeoutError:
            raise TooSlow(f"no answer within {self._limit:g} seconds") from None
        except aiohttp.ClientError as error:
            raise NoAnswer(_reason(error)) from None

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()


async def _body(response: aiohttp.ClientResponse) -> bytes:
    parts = bytearray()
    async for part in response.content.iter_any():
        parts += part
        if len(parts) > MOST_BYTES:
            raise NoAnswer("its answer has no end")
    return bytes(parts)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _reason(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"not reached ({error.os_error.strerror or type(error.os_error).__name__})"
    return f"the connection broke ({type(error).__name__})"


def text_of(told: Mapping[str, Any], key: str) -> str:
    """What a service says in words, for the log: one short line."""
    return repr(str(told.get(key) or "nothing"))[:200]
