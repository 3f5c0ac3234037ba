"""The manager of a swarm as the launcher asks it: the engine's questions, and those that only a manager answers."""

from __future__ import annotations

import contextlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import aiohttp
from aiodocker.multiplexed import multiplexed_result_stream

from hubfleet.engines.dockerapi import (
    QUESTION_LIMIT_S,
    WORK_LIMIT_S,
    Api,
    EngineAway,
    Gone,
    Refused,
    answer,
    translated,
)

Answer = TypeVar("Answer")
Kept = Literal["secrets", "configs"]
"""What a swarm keeps for its services and gives to the machines on which these run."""

_ENDLESS = aiohttp.ClientTimeout(total=None, sock_connect=QUESTION_LIMIT_S)
_NAME_TAKEN = 409
_NO_LEADER = 503
_NOT_NOW = ("code = Unavailable", "code = DeadlineExceeded", "code = Canceled", "context deadline exceeded")
"""Errors of a manager that has no connection to the rest of the managers, or is just starting or ending."""


class NameTaken(Refused):
    """There is one of this name already."""


class SwarmApi(Api):
    """A manager, on its engine's socket. Raises as `Api`; a manager that cannot answer for the swarm is EngineAway."""

    async def make_service(self, body: Mapping[str, Any]) -> str:
        """Make a service; returns its id. Raises NameTaken."""
        return str((await self._post("services/create", body))["ID"])

    async def service(self, name: str) -> dict[str, Any] | None:
        """All that is known of a service, by id or name; None when there is none."""
        with contextlib.suppress(Gone):
            found: dict[str, Any] = await self._get(f"services/{name}")
            return found
        return None

    async def services(self, label: str) -> list[dict[str, Any]]:
        """The services with this label."""
        return await self._list("services", {"label": [label]})

    async def remove_service(self, name: str) -> None:
        """Remove a service, by id or name. Its tasks end later. Removing what is gone is success."""
        with contextlib.suppress(Gone):
            await self._delete(f"services/{name}")

    async def tasks(self, filters: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        """The tasks that pass all these filters."""
        return await self._list("tasks", filters)

    async def task(self, identifier: str) -> dict[str, Any] | None:
        """One task; None when the swarm does not know it (any more)."""
        with contextlib.suppress(Gone):
            found: dict[str, Any] = await self._get(f"tasks/{identifier}")
            return found
        return None

    async def nodes(self) -> list[dict[str, Any]]:
        """All machines of the swarm."""
        return await self._list("nodes", {})

    async def keep(self, kind: Kept, name: str, labels: Mapping[str, str], data: bytes) -> str:
        """Have the swarm keep a secret or a config; returns its id. Raises NameTaken."""
        body = {"Name": name, "Labels": dict(labels), "Data": b64encode(data).decode()}
        return str((await self._post(f"{kind}/create", body))["ID"])

    async def kept(self, kind: Kept, label: str) -> dict[str, str]:
        """Names of what it keeps with this label, by id."""
        return {one["ID"]: one["Spec"]["Name"] for one in await self._list(kind, {"label": [label]})}

    async def forget(self, kind: Kept, name: str) -> bool:
        """Remove it, by id or name. False: a service still has it. Removing what is gone is success."""
        try:
            await self._delete(f"{kind}/{name}")
        except Gone:
            return True
        except Refused as refusal:
            if "in use" in str(refusal):
                return False
            raise
        return True

    async def events(self, *kinds: str) -> AsyncIterator[dict[str, Any]]:
        """What happens to things of these kinds in the swarm. Ends when the engine goes away."""
        filters = json.dumps({"scope": ["swarm"], "type": kinds})
        with translated():
            async with self.engine._query("events", params={"filters": filters}, timeout=_ENDLESS) as response:
                async for line in response.content:
                    yield json.loads(line)

    async def follow(self, name: str, since: str) -> AsyncIterator[str]:
        """See ``Api.follow``; what a task's container prints, wherever it runs. Does not end with the container."""
        with translated():
            async for piece in self._logs(name, {"since": since, "follow": "true", "timestamps": "true"}):
                yield piece

    async def printed(self, name: str, lines: int) -> str:
        """The last lines that a task's container has printed; "" when it is gone."""

        async def read() -> str:
            return "".join([piece async for piece in self._logs(name, {"tail": str(lines)})])

        with contextlib.suppress(Gone):
            return await answer(read(), QUESTION_LIMIT_S)
        return ""

    async def _logs(self, name: str, params: Mapping[str, str]) -> AsyncIterator[str]:
        wanted = {"stdout": "true", "stderr": "true", **params}
        async with self.engine._query(f"tasks/{name}/logs", params=wanted, timeout=_ENDLESS) as response:
            async for piece in multiplexed_result_stream(response):  # type: ignore[no-untyped-call]
                yield piece

    # -- how it is asked ---------------------------------------------------------------------------------------------

    async def _get(self, path: str) -> Any:
        return await _asked(self.engine._query_json(path, method="GET"), QUESTION_LIMIT_S)

    async def _list(self, path: str, filters: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        params = {"filters": json.dumps(filters)}
        found: list[dict[str, Any]] = await _asked(
            self.engine._query_json(path, method="GET", params=params), QUESTION_LIMIT_S
        )
        return found

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = await _asked(
            self.engine._query_json(path, method="POST", data=json.dumps(body)), WORK_LIMIT_S
        )
        return made

    async def _delete(self, path: str) -> None:
        async def delete() -> None:
            async with self.engine._query(path, method="DELETE"):
                pass

        await _asked(delete(), WORK_LIMIT_S)


async def _asked(asking: Awaitable[Answer], limit: float) -> Answer:
    try:
        return await answer(asking, limit)
    except Gone:
        raise
    except Refused as refusal:
        if refusal.status == _NAME_TAKEN:
            raise NameTaken(refusal.status, str(refusal)) from refusal
        if refusal.status == _NO_LEADER or any(words in str(refusal) for words in _NOT_NOW):
            raise EngineAway(f"the swarm's manager cannot answer now ({refusal})") from refusal
        raise
