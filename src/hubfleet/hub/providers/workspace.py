"""Asks Google's directory in which groups somebody is, with a service account's key: no person's token is needed."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from tornado.httpclient import HTTPClientError, HTTPRequest

from hubfleet.googlegroups import NOT_FOUND, ServiceKey, question, reasons, refusal
from hubfleet.hub.providers.web import LIMIT_S, Client, Silent, parsed

PAGES = 50
"""How many pages of somebody's groups are asked for at most."""
SPARE_S = 120.0
"""How long before its end a token is not used any more."""


class Workspace:
    """``told``: as `config.providers.Google.workspace` makes it. ``key``: the text of the service account's key."""

    def __init__(self, told: dict[str, str], key: str, client: Client, log: Any) -> None:
        self._told, self._text, self._client, self._log = told, key, client, log
        self._key: ServiceKey | None = None
        self._token, self._until = "", 0.0
        self._asking: asyncio.Task[str] | None = None

    async def groups_of(self, number: str) -> frozenset[str]:
        """The addresses of the groups that an account is in, in lower case. Raises Silent, in words for the log.

        ``number``: the account's, for an address may be another account's one day.
        """
        try:
            return await asyncio.wait_for(self._groups_of(number), 3 * LIMIT_S)
        except asyncio.TimeoutError:
            raise Silent(f"Google's directory did not tell within {3 * LIMIT_S:g} s") from None

    async def _groups_of(self, number: str) -> frozenset[str]:
        found: set[str] = set()
        page = ""
        for _ in range(PAGES):
            told = await self._told_of(number, page)
            found |= {str(one["email"]).lower() for one in told.get("groups", []) if "email" in one}
            page = str(told.get("nextPageToken") or "")
            if not page:
                return frozenset(found)
        raise Silent(f"Google's directory has more than {PAGES} pages of somebody's groups")

    async def _told_of(self, number: str, page: str, *, again: bool = True) -> dict[str, Any]:
        try:
            return await self._answer(question(self._told["groups"], number, page))
        except HTTPClientError as error:
            if error.code == 401 and again:  # the token was taken back
                self._token = ""
                return await self._told_of(number, page, again=False)
            if error.code == 404 and NOT_FOUND in reasons(parsed(error.response) if error.response else {}):
                self._log.warning("Google's directory has no account number %s: it is in no group", number)
                return {}
            raise self._silent(error) from None

    async def _answer(self, address: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {await self._a_token()}", "Accept": "application/json"}
        answer = await self._client.fetch(HTTPRequest(address, headers=headers))
        told = _object(answer.body)
        if not {"kind", "groups"} & set(told) or not isinstance(told.get("groups", []), list):
            raise Silent("what Google's directory answered is no list of groups")
        return told

    async def _a_token(self) -> str:
        """One that holds for a while. A class that comes in at once asks once for it, and waits for the same answer."""
        if self._token and time.monotonic() < self._until:
            return self._token
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._exchange())
        return await asyncio.shield(self._asking)

    async def _exchange(self) -> str:
        if self._key is None:
            try:
                self._key = ServiceKey.from_text(self._text)
            except ValueError as error:
                raise Silent(f"the secret google_key {error}") from None
        address = self._told["token"] or self._key.address
        body = self._key.asking(self._told["administrator"], address, time.time())
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        try:
            answer = await self._client.fetch(HTTPRequest(address, method="POST", headers=headers, body=body))
        except HTTPClientError as error:
            raise self._silent(error) from None
        told = _object(answer.body)
        token, lasts = told.get("access_token"), told.get("expires_in")
        if not isinstance(token, str) or not isinstance(lasts, (int, float)):
            raise Silent("Google gave no token for its directory")
        self._token, self._until = token, time.monotonic() + lasts - SPARE_S
        return token

    def _silent(self, error: HTTPClientError) -> Silent:
        if self._key is None:
            raise ValueError("nothing was asked yet")
        told = parsed(error.response) if error.response else {}
        return Silent(refusal(error.code, told, self._key, self._told["administrator"]))


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Silent("what Google's directory answered is not in JSON's form")
    return found
