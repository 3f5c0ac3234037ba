"""Users' servers as services of a swarm: one task each, which ends once and is never started again by the swarm.

What a server is to be is in a secret that the swarm brings to its machine. It says at the `doors` that it is there and
up, and is reached at its task's own address.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from hubfleet.config.effective import Effective
from hubfleet.engines import contained, starting
from hubfleet.engines.dockerapi import EngineAway, Refused
from hubfleet.engines.ending import end
from hubfleet.engines.output import Outputs, append
from hubfleet.engines.swarm import specification
from hubfleet.engines.swarm.api import SwarmApi
from hubfleet.engines.swarm.board import FAST_S, Board
from hubfleet.engines.swarm.doors import Doors, Visit, accepts, listening, tcp
from hubfleet.engines.swarm.prepare import prepared
from hubfleet.engines.swarm.services import PATIENCE_S, Services
from hubfleet.engines.swarm.specification import Settings
from hubfleet.engines.swarm.tasks import Coming, State, cores_of, has_secret, is_over, state_of
from hubfleet.launcher.base import (
    Progress,
    Record,
    Request,
    Running,
    Spawned,
    StartFailed,
    Status,
    Stopped,
    Unknown,
)

logger = logging.getLogger("hubfleet.launcher")

START_LIMIT_S = 300.0
STARTS_PER_CORE = 2
"""As on one machine: two keep a processor busy, for each waits for others a part of its time."""
_SWEEP_LIMIT_S = 5.0
_LOOK_EVERY_S = 1.0
_LAST_LINES = 20


class SwarmLaunch:
    """Implements ``launcher.base.Launch`` for engine ``swarm``. ``made``: makes sockets in the fleet's network."""

    def __init__(self, settings: Settings, made: Callable[[], socket.socket] = tcp) -> None:
        self._settings = settings
        self._layout = settings.layout
        self._api = SwarmApi(settings.engine_socket)
        self._board = Board(self._api, self._layout.hub)
        self._made = made
        self._doors = Doors(lambda: listening(settings.door.address, settings.door.port, made()))
        self._services = Services(self._api, self._board, settings)
        self._outputs = Outputs(self._api.follow, self._ended)
        self._tasks: set[asyncio.Task[None]] = set()
        self._homes: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._stopping = 0

    async def open(self) -> None:
        """See ``Launch.open``. Removes what a launcher that was killed has given the swarm to keep for no service."""
        await self._doors.open()
        self._board.open()
        try:
            await asyncio.wait_for(self._services.sweep(), _SWEEP_LIMIT_S)
        except (EngineAway, Refused, asyncio.TimeoutError) as problem:
            logger.warning("the swarm was not looked through for leftovers: %s", problem)

    async def close(self) -> None:
        """See ``Launch.close``."""
        await end(self._tasks)
        await self._doors.close()
        await self._board.close()
        await self._outputs.close()
        await self._api.close()

    def at_once(self) -> int | None:
        """See ``Launch.at_once``. As the machines were when they were last looked at."""
        cores = cores_of(self._board.known(), self._settings.placement, ready=True)
        return max(1, int(sum(cores) * STARTS_PER_CORE)) if cores else None

    # -- start -------------------------------------------------------------------------------------------------------

    async def start(self, request: Request, effective: Effective, progress: Progress, spawned: Spawned) -> Record:
        """See ``Launch.start``. Everything made for a server that does not come up is removed, its home excepted."""
        with starting.plainly("the swarm"):
            return await self._start(request, effective, progress, spawned)

    async def _start(self, request: Request, effective: Effective, progress: Progress, spawned: Spawned) -> Record:
        progress("Preparing the home directory")
        async with self._homes[request.user]:  # the storage may hang, and with it nothing else
            words: list[str] = []  # what is to be told is told in the loop
            server = await asyncio.to_thread(prepared, self._settings, request, effective, words.append)
            for line in words:
                progress(line)
        record = self._record(request, effective)
        starting.begin_log(Path(record.log))
        visit = self._doors.expect(server.seen)
        try:
            starting.note(spawned, record)
            progress("Making the service")
            told = specification.program(self._settings, server, request, effective, visit.key)
            made = await self._services.make(record.handle["secret"], server, effective, told)
            record = _with(record, service=made)
            record = await self._until_up(record, visit, progress)
        except BaseException as error:
            if isinstance(error, StartFailed):
                _say(record, str(error))
            await asyncio.shield(self._undo(record))
            raise
        finally:
            self._doors.forget(visit)
        progress("The server is up")
        return record

    def _record(self, request: Request, effective: Effective) -> Record:
        """As it is before anything is made: by these names it is found again, whatever comes in between."""
        log = self._layout.logs / "servers" / f"{request.id}.log"
        name = contained.name_of(self._layout.hub, request.id)
        secret = f"{name}-{uuid.uuid4().hex[:12]}"  # by which this very start is known
        handle = {"name": name, "secret": secret, "limited": effective.memory_limit is not None}
        return Record(request.id, request.user, request.server, request.profile, "", time.time(), str(log), handle)

    async def _until_up(self, record: Record, visit: Visit, progress: Progress) -> Record:
        """Return the whole record when the server is up; raise StartFailed as soon as it is clear that it will not."""
        deadline, waits_since, told = time.monotonic() + START_LIMIT_S, 0.0, ""
        while time.monotonic() < deadline:
            looking = asyncio.create_task(self._look(record, visit))
            try:
                waiting: set[asyncio.Future[Any]] = {looking, visit.up} if not visit.up.done() else {looking}
                await asyncio.wait(waiting, timeout=_LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                if looking.done():
                    record, state = looking.result()
                    waits_since = self._patience(state, waits_since)
                    words = state.what if isinstance(state, Coming) else "Waiting for the server"
                    if words != told:
                        progress(words)
                        told = words
                if visit.up.done():
                    visit.up.result()
                if visit.up.done() and record.url:
                    self._outputs.follow(record.handle["task"], Path(record.log), fresh=True)
                    return record
            except EngineAway:
                await asyncio.sleep(FAST_S)  # what it has begun goes on
            finally:
                looking.cancel()
        raise StartFailed(f"the server did not answer within {START_LIMIT_S:.0f} seconds")

    async def _look(self, record: Record, visit: Visit) -> tuple[Record, State]:
        """What is known of a server that starts. Raises StartFailed when it has ended, and as `SwarmApi`."""
        while True:
            tasks = [one for one in await self._board.tasks(_name(record)) if _is_of(record, one)]
            if tasks:
                break
            if await self._api.service(record.handle["service"]) is None:
                raise StartFailed("its service was removed by somebody else")
        record = self._found(record, tasks[-1])
        state = await self._state(tasks[-1], record)
        if isinstance(state, Stopped):
            raise StartFailed(await self._failure_text(record, state))
        if isinstance(state, Running):
            self._outputs.follow(record.handle["task"], Path(record.log), fresh=True)
            # One whose user has switched our extension off never says that it is up.
            silent = visit.arrived and not visit.up.done()
            if silent and await accepts(record.url, self._made(), _LOOK_EVERY_S) and not visit.up.done():
                visit.up.set_result(None)
        return record, state

    def _patience(self, state: State, since: float) -> float:
        """Since when no machine takes it (0: one does). Raises StartFailed when that has been long enough."""
        if not isinstance(state, Coming) or not state.why_not:
            return 0.0
        now = time.monotonic()
        if self._stopping or not since:
            return now  # what just ends makes room
        if now - since < self._settings.room_wait:
            return since
        if "insufficient resources" in state.why_not:
            remedy = "Please try again later, or choose a smaller profile"
        else:
            remedy = "An administrator has to look at the machines: hubfleet status"
        raise StartFailed(f"no machine has room for the server now: {state.why_not}. {remedy}")

    def _found(self, record: Record, task: Mapping[str, Any]) -> Record:
        url = record.url
        for attachment in task.get("NetworksAttachments") or ():
            if attachment["Network"]["Spec"]["Name"] == self._settings.network and attachment.get("Addresses"):
                url = f"http://{attachment['Addresses'][0].partition('/')[0]}:{self._settings.server_port}"
        return _with(record, url, task=task["ID"])

    async def _failure_text(self, record: Record, state: Stopped) -> str:
        if state.code is None:
            return state.why
        lines: list[str] = []
        with contextlib.suppress(EngineAway, Refused):
            said = await self._api.printed(record.handle["task"], _LAST_LINES)
            lines = [line for line in said.splitlines() if line.strip()]
        if not self._outputs.follows(record.handle["task"]):
            append(Path(record.log), "".join(f"{line}\n" for line in lines))
        return f"{state.why}. It said last: {lines[-1][:300] if lines else 'nothing'}"

    # -- while it runs -----------------------------------------------------------------------------------------------

    async def poll(self, record: Record) -> Status:
        """See ``Launch.poll``."""
        try:
            task = await self._task(record)
            if task is None:
                return Stopped(None, "its service was removed by somebody else, so its exit code is not known")
            state = await self._state(task, record)
        except (EngineAway, Refused) as error:
            return Unknown(str(error))
        return Unknown("it is still on its way") if isinstance(state, Coming) else state

    async def _task(self, record: Record) -> dict[str, Any] | None:
        """The very task that became the server; None when it is not known any more."""
        if "task" in record.handle:
            return await self._api.task(record.handle["task"])
        found = await self._api.tasks({"name": [_name(record)]})
        return found[-1] if found else None

    async def _state(self, task: Mapping[str, Any], record: Record) -> State:
        return state_of(task, await self._board.node(task.get("NodeID")), bool(record.handle.get("limited")))

    async def _ended(self, identifier: str) -> bool:
        task = await self._api.task(identifier)
        return task is None or is_over(task, await self._board.node(task.get("NodeID")))

    def watch(self, record: Record, ended: Callable[[Record], None]) -> None:
        """See ``Launch.watch``."""
        task = record.handle.get("task")
        if task is None:
            return
        self._outputs.follow(task, Path(record.log), fresh=False)
        looking: set[str] = set()

        async def look() -> None:
            status = await self.poll(record)
            looking.clear()
            if isinstance(status, Stopped):
                self._board.forget(task)
                _say(record, status.why)
                ended(record)

        def heard(_: object) -> None:
            if not looking:
                looking.add(task)
                self._keep(look())

        self._board.watch(task, heard)

    # -- stop --------------------------------------------------------------------------------------------------------

    async def stop(self, record: Record, grace: float) -> None:
        """See ``Launch.stop``; ``grace`` is the service's own, see `specification.GRACE_S`.

        Raises EngineAway when the manager stays away, or a machine that is not known to be lost does not end the
        server: it may then run on.
        """
        self._stopping += 1
        try:
            await asyncio.wait_for(self._remove(record), PATIENCE_S)
        except asyncio.TimeoutError as error:
            raise EngineAway(self._board.problem or "its machine has not said yet that the server has ended") from error
        finally:
            self._stopping -= 1

    async def _remove(self, record: Record) -> None:
        """As ``Services.remove``, and forget what it says."""
        await self._services.remove(_name(record), record.handle["secret"])
        if task := record.handle.get("task"):
            self._board.forget(task)
            await self._outputs.finish(task, wait=False)

    async def _undo(self, record: Record) -> None:
        """Remove what was made for a server that has not come up; later, if the manager is away."""
        removing = self._keep(self._remove(record))
        await asyncio.wait([removing], timeout=PATIENCE_S)

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _name(record: Record) -> str:
    return str(record.handle["name"])


def _is_of(record: Record, task: Mapping[str, Any]) -> bool:
    return has_secret(task["Spec"]["ContainerSpec"], record.handle["secret"])


def _with(record: Record, url: str = "", **handle: Any) -> Record:
    known = {**record.handle, **handle}
    same = (record.id, record.user, record.server, record.profile)
    return Record(*same, url or record.url, record.started, record.log, known)


def _say(record: Record, words: str) -> None:
    """Into the server's log, beside what the server itself has said."""
    with contextlib.suppress(OSError):
        append(Path(record.log), f"--- {words}\n")
