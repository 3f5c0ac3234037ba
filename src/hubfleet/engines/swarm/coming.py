"""Servers on their way up: what becomes of a task, and when it is clear that it will not be a server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hubfleet.engines.dockerapi import EngineAway, Refused
from hubfleet.engines.output import Outputs, append
from hubfleet.engines.swarm.api import SwarmApi
from hubfleet.engines.swarm.board import FAST_S, Board
from hubfleet.engines.swarm.doors import Visit, accepts
from hubfleet.engines.swarm.draining import is_drained, no_room, open_to
from hubfleet.engines.swarm.records import is_of, known, service_of
from hubfleet.engines.swarm.showing import Unfit
from hubfleet.engines.swarm.specification import Settings
from hubfleet.engines.swarm.tasks import Coming, State, name_of, state_of, unheard_of, without_home
from hubfleet.launcher.base import Progress, Record, Running, StartFailed, Stopped

START_LIMIT_S = 300.0
MOUNT_LIMIT_S = 30.0
"""How long a machine may take to mount a home and begin. Where other homes are mounted already, one more waits for a
storage that is away as these do: without an end."""
REPORT_LIMIT_S = 45.0
"""How long a manager that was restarted may take to hear of its machines again."""
_LOOK_EVERY_S = 1.0
_LAST_LINES = 20


class StorageAway(StartFailed):
    """The machine does not get on with the start, and will not get on with its end either."""


class Drained(StartFailed):
    """Its machine gets no more servers since this one was asked for."""


async def state_now(board: Board, task: Mapping[str, Any], record: Record) -> State:
    """What is known of a server by this task of it. Raises as `SwarmApi`."""
    return state_of(task, await board.node(task.get("NodeID")), bool(record.handle.get("limited")))


class Arrivals:
    """Awaits servers. ``made``: makes sockets in the fleet's network. ``making_room``: whether one is being stopped."""

    def __init__(
        self,
        settings: Settings,
        api: SwarmApi,
        board: Board,
        outputs: Outputs,
        made: Callable[[], socket.socket],
        making_room: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._api = api
        self._board = board
        self._outputs = outputs
        self._made = made
        self._making_room = making_room

    async def until_up(self, record: Record, visit: Visit, progress: Progress) -> Record:
        """Return the whole record when the server is up; raise StartFailed as soon as it is clear that it will not."""
        deadline, waits_since, mounts_since, told = time.monotonic() + START_LIMIT_S, 0.0, 0.0, ""
        looking: asyncio.Task[tuple[Record, State]] | None = None
        try:
            while time.monotonic() < deadline:
                # One look may take longer than the pause between two: the manager is slow, and all ask it.
                looking = looking or asyncio.create_task(self._look(record, visit))
                waiting: set[asyncio.Future[Any]] = {looking, visit.up} if not visit.up.done() else {looking}
                await asyncio.wait(waiting, timeout=_LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                if looking.done():
                    done, looking = looking, None
                    try:
                        record, state = done.result()
                    except EngineAway:
                        await asyncio.sleep(FAST_S)  # what it has begun goes on
                        continue
                    waits_since = self._patience(state, waits_since)
                    mounts_since = self._mounting(state, mounts_since)
                    words = state.what if isinstance(state, Coming) else "Waiting for the server"
                    if words != told:
                        progress(words)
                        told = words
                if visit.up.done():
                    await self._let_in(visit, record)
                if visit.up.done() and record.url:
                    with contextlib.suppress(EngineAway, Refused):
                        await self._refuse_drained(record)
                    self._outputs.follow(record.handle["task"], Path(record.log), fresh=True)
                    return record
        finally:
            if looking:
                looking.cancel()
        raise StartFailed(f"the server did not answer within {START_LIMIT_S:.0f} seconds")

    async def _let_in(self, visit: Visit, record: Record) -> None:
        """Raises StartFailed for one that has not been let in, and says where."""
        try:
            visit.up.result()
        except Unfit as unfit:
            node = None
            with contextlib.suppress(EngineAway, Refused):
                tasks = [one for one in await self._board.tasks(service_of(record)) if is_of(record, one)]
                node = await self._board.node(tasks[-1].get("NodeID")) if tasks else None
            raise Unfit(f"{name_of(node)}: {unfit}", unfit.place) from unfit

    async def _look(self, record: Record, visit: Visit) -> tuple[Record, State]:
        """What is known of a server that starts. Raises StartFailed when it has ended, and as `SwarmApi`."""
        while True:
            tasks = [one for one in await self._board.tasks(service_of(record)) if is_of(record, one)]
            if tasks:
                break
            if await self._api.service(record.handle["service"]) is None:
                raise StartFailed("its service was removed by somebody else")
        record = self._found(record, tasks[-1])
        await self._refuse_drained(record)
        state = await state_now(self._board, tasks[-1], record)
        if isinstance(state, Stopped):
            raise StartFailed(await self._failure_text(record, state))
        if isinstance(state, Running):
            self._outputs.follow(record.handle["task"], Path(record.log), fresh=True)
            # One whose user has switched our extension off never says that it is up.
            silent = visit.arrived and not visit.up.done()
            if silent and await accepts(record.url, self._made(), _LOOK_EVERY_S) and not visit.up.done():
                visit.up.set_result(None)
        return record, state

    async def _refuse_drained(self, record: Record) -> None:
        """Raises Drained for a server that comes to a machine which was drained after the swarm was asked for it."""
        node = await self._board.node(record.handle.get("node"))
        if is_drained(self._settings, node):
            raise Drained(f"{name_of(node)} takes no more servers since just now")

    def _patience(self, state: State, since: float) -> float:
        """Since when no machine takes it (0: one does). Raises StartFailed when that has been long enough."""
        if not isinstance(state, Coming) or not state.why_not:
            return 0.0
        now = time.monotonic()
        if self._making_room() or not since:
            return now  # what just ends makes room
        limit = REPORT_LIMIT_S if unheard_of(self._board.known(), open_to(self._settings)) else self._settings.room_wait
        if now - since < limit:
            return since
        raise StartFailed(no_room(self._settings, self._board.known(), state.why_not))

    def _mounting(self, state: State, since: float) -> float:
        """Since when its machine has been mounting its home (0: it does not). Raises StartFailed when that hangs."""
        homes = self._settings.homes
        if homes.kind != "nfs" or not isinstance(state, Coming) or not state.mounting:
            return 0.0
        now = time.monotonic()
        if since and now - since > MOUNT_LIMIT_S:
            what = f"the storage at {homes.server} does not answer, so your home cannot be mounted"
            raise StorageAway(f"{what}. Please try again in a minute; your files are as they were")
        return since or now

    def _found(self, record: Record, task: Mapping[str, Any]) -> Record:
        url = record.url
        for attachment in task.get("NetworksAttachments") or ():
            if attachment["Network"]["Spec"]["Name"] == self._settings.network and attachment.get("Addresses"):
                url = f"http://{attachment['Addresses'][0].partition('/')[0]}:{self._settings.server_port}"
        return known(record, url, task=task["ID"], node=task.get("NodeID", ""))

    async def _failure_text(self, record: Record, state: Stopped) -> str:
        homes = self._settings.homes
        why = without_home(state.why, homes.server) if homes.kind == "nfs" else state.why
        if state.code is None or why != state.why:
            return why
        lines: list[str] = []
        with contextlib.suppress(EngineAway, Refused):
            said = await self._api.printed(record.handle["task"], _LAST_LINES)
            lines = [line for line in said.splitlines() if line.strip()]
        if not self._outputs.follows(record.handle["task"]):
            append(Path(record.log), "".join(f"{line}\n" for line in lines))
        return f"{state.why}. It said last: {lines[-1][:300] if lines else 'nothing'}"
