"""The accounting service TAS, or one that speaks as it does.

``GET <url>/users/username/<name>`` with the role account's name and password (basic authentication) is answered by
``{"status": "success", "message": null, "result": {"uid": ..., "homeDirectory": ...}}``; a refusal has the status
"error" and says why in "message". A group id is in the result only where the site has put one there.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

from hubfleet.launcher.owners import Answer, Away, Nobody
from hubfleet.launcher.rest import LIMIT_S, NoAnswer, Rest, TooSlow, text_of


class TasSource:
    """Implements ``owners.Source``. ``limit``: seconds."""

    name = "the accounting service"

    def __init__(self, url: str, account: str, password: str, limit: float = LIMIT_S) -> None:
        self._url = url
        shown = base64.b64encode(f"{account}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {shown}"}
        self._rest = Rest(limit)

    async def ask(self, user: str) -> Answer:
        """See ``Source.ask``."""
        try:
            url = f"{self._url}/users/username/{quote(user, safe='')}"
            status, told = await self._rest.get(url, self._headers)
        except NoAnswer as problem:
            raise Away(str(problem), slow=isinstance(problem, TooSlow)) from None
        if status in (401, 403):
            raise Away("it does not accept the role account (storage.owner.tas.account, owner_password)", ours=True)
        if status == 404:
            raise Nobody(text_of(told, "message") if isinstance(told, dict) else "not found")
        if status != 200:
            raise Away(f"it answered with status {status}")
        return _account(told, user)

    async def close(self) -> None:
        """See ``Source.close``."""
        await self._rest.close()


def _account(told: Any, user: str) -> Answer:
    if not isinstance(told, dict) or told.get("status") not in ("success", "error"):
        raise Away("its answer is not in the form expected")
    if told["status"] == "error":
        raise Nobody(text_of(told, "message"))
    result = told.get("result")
    if not isinstance(result, dict):
        raise Away("its answer has no result")
    name = result.get("username", user)
    if not isinstance(name, str) or name.lower() != user:
        raise Away("its answer is about somebody else")
    return Answer(result.get("uid"), result.get("gid"), result.get("homeDirectory"))
