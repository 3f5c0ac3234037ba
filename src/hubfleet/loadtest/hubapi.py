"""JupyterHub's REST API, as far as a load test needs it. Works with any JupyterHub from version 4 on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from hubfleet.names import in_address
from hubfleet.units import Secret

PAGE = 200
ANSWER_LIMIT_S = 60.0
LOOK_S, LOOK_AT_MOST_S = 0.1, 1.0


class StepFailed(Exception):
    """Something a person wanted did not happen; the text says why, in words that hold no secret."""


def in_words(status: int, text: str) -> str:
    """A refusal's status, and its own words where it has some."""
    try:
        data = json.loads(text)
        words = str(data.get("message") or "") if isinstance(data, dict) else ""
    except ValueError:
        words = ""
    return f"HTTP {status}" + (f": {words[:300]}" if words else "")


class HubAPI:
    """One identity's way into the API. ``url``: the hub's public address, without ``/hub``."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: Secret) -> None:
        self._session, self._url, self._token = session, url.rstrip("/"), token

    @property
    def headers(self) -> dict[str, str]:
        """What proves who is asking."""
        return {"Authorization": f"token {self._token.reveal()}"}

    async def request(
        self, method: str, target: str, body: Any = None, limit_s: float | None = None
    ) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers of the answer, whatever they are. Raises StepFailed where it does not come."""
        limit_s = ANSWER_LIMIT_S if limit_s is None else limit_s
        limit = aiohttp.ClientTimeout(total=limit_s)
        try:
            async with self._session.request(
                method, f"{self._url}/hub/api{target}", json=body, headers=self.headers, timeout=limit
            ) as answer:
                return answer.status, await answer.text(), dict(answer.headers)
        except asyncio.TimeoutError as error:
            raise StepFailed(f"the hub did not answer within {limit_s:.3g} s") from error

    async def ask(self, method: str, target: str, body: Any = None) -> Any:
        """The JSON of the answer, None for an empty one. Raises StepFailed for a refusal."""
        status, text, _ = await self.request(method, target, body)
        if status >= 400:
            raise StepFailed(in_words(status, text))
        return json.loads(text) if text.strip() else None

    # -- people ------------------------------------------------------------------------------------------------------

    async def users(self) -> list[dict[str, Any]]:
        """Everybody the hub knows, with their servers as far as this identity may see them."""
        found: list[dict[str, Any]] = []
        while True:
            page = await self.ask("GET", f"/users?offset={len(found)}&limit={PAGE}")
            found += page
            if len(page) < PAGE:
                return found

    async def make_token(self, name: str, seconds: int) -> Secret:
        """A token of somebody's, that ends by itself."""
        body = {"note": "load test", "expires_in": seconds}
        return Secret((await self.ask("POST", f"/users/{in_address(name)}/tokens", body))["token"])

    # -- servers -----------------------------------------------------------------------------------------------------

    async def start(self, name: str, options: dict[str, Any], limit_s: float) -> int:
        """Start somebody's server and wait until it is ready; returns how often the hub asked to come back later.

        Asking has to be over within ``limit_s``; the start may take longer. Raises StepFailed with the hub's own words.
        """
        deadline, again = time.monotonic() + limit_s, 0
        while True:
            left = deadline - time.monotonic()
            status, text, headers = await self.request("POST", f"/users/{in_address(name)}/server", options, left)
            if status == 201:  # it is up
                return again
            if status == 202:
                await self._await_ready(name)
                return again
            pause = headers.get("Retry-After", "")
            wait = float(pause) if pause.isdigit() else 1.0
            if status != 429 or time.monotonic() + wait > deadline:
                raise StepFailed(in_words(status, text))
            again += 1
            await asyncio.sleep(wait)

    async def _await_ready(self, name: str) -> None:
        """Follow the progress of a start to its end, however long that takes.

        Raises StepFailed with the hub's own words if it fails.
        """
        limit = aiohttp.ClientTimeout(total=None)
        address = f"{self._url}/hub/api/users/{in_address(name)}/server/progress"
        async with self._session.get(address, headers=self.headers, timeout=limit) as stream:
            if stream.status != 200:
                raise StepFailed(in_words(stream.status, await stream.text()))
            async for event in _events(stream):
                if event.get("ready"):
                    return
                if event.get("failed"):
                    raise StepFailed(str(event.get("message") or "the hub gave no reason"))
        raise StepFailed("the hub ended the progress of the start without saying whether it was ready")

    async def stop(self, name: str) -> None:
        """Stop somebody's server and wait until it is gone. Nothing to stop is success."""
        pause = LOOK_S
        while True:
            user = await self.find(name)
            server = (user or {}).get("servers", {}).get("")
            if server is None:
                return
            if server.get("pending") not in ("spawn", "stop"):
                status, text, _ = await self.request("DELETE", f"/users/{in_address(name)}/server")
                if status == 204:
                    return
                if status not in (202, 400, 404):  # 400: it has begun to start or stop in between
                    raise StepFailed(in_words(status, text))
            await asyncio.sleep(pause)
            pause = min(LOOK_AT_MOST_S, pause * 1.5)

    async def find(self, name: str) -> dict[str, Any] | None:
        """Somebody, or None when the hub does not know them."""
        status, text, _ = await self.request("GET", f"/users/{in_address(name)}")
        if status == 404:
            return None
        if status >= 400:
            raise StepFailed(in_words(status, text))
        found: dict[str, Any] = json.loads(text)
        return found

    async def delete(self, name: str) -> None:
        """Stop somebody's server and delete them, and their tokens with them. Nobody to delete is success."""
        await self.stop(name)
        status, text, _ = await self.request("DELETE", f"/users/{in_address(name)}")
        if status not in (204, 404):
            raise StepFailed(in_words(status, text))


async def _events(stream: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in stream.content:
        if line.startswith(b"data:"):
            yield json.loads(line[5:])
