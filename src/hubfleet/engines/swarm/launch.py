"""Users' servers as services of a swarm: one task each, which ends once and is never started again by the swarm.

What a server is to be is in a secret that the swarm brings to its machine. It says at the `doors` that it is there and
up, and is reached at its task's own address.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from hubfleet.config.effective import Effective
from hubfleet.engines import starting
from hubfleet.engines.dockerapi import EngineAway, Refused
from hubfleet.engines.ending import end
from hubfleet.engines.output import Outputs
from hubfleet.engines.swarm import specification
from hubfleet.engines.swarm.api import SwarmApi
from hubfleet.engines.swarm.board import Board
from hubfleet.engines.swarm.coming import Arrivals, Drained, StorageAway, state_now
from hubfleet.engines.swarm.doors import Doors, listening, tcp
from hubfleet.engines.swarm.draining import open_to
from hubfleet.engines.swarm.places import name_of
from hubfleet.engines.swarm.prepare import identified, prepared, without
from hubfleet.engines.swarm.records import known, say, service_of
from hubfleet.engines.swarm.services import PATIENCE_S, Services
from hubfleet.engines.swarm.specification import Server, Settings
from hubfleet.engines.swarm.tasks import Coming, cores_of, is_over
from hubfleet.homes.client import Homes, homes_of
from hubfleet.launcher.base import (
    Progress,
    Record,
    Request,
    Spawned,
    StartFailed,
    Status,
    Stopped,
    Unknown,
)
from hubfleet.names import system_name

logger = logging.getLogger("hubfleet.launcher")

STARTS_PER_CORE = 2
"""As on one machine: two keep a processor busy, for each waits for others a part of its time."""
_SWEEP_LIMIT_S = 5.0


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
        self._kept = homes_of(settings.keeper)
        self._preparing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._stopping = 0
        self._arrivals = Arrivals(settings, self._api, self._board, self._outputs, made, lambda: self._stopping > 0)

    @property
    def homes(self) -> Homes | None:
        """See ``Launch.homes``."""
        return self._kept

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
        if self._kept:
            await self._kept.close()

    def at_once(self) -> int | None:
        """See ``Launch.at_once``. As the machines were when they were last looked at."""
        cores = cores_of(self._board.known(), open_to(self._settings), ready=True)
        return max(1, int(sum(cores) * STARTS_PER_CORE)) if cores else None

    # -- start -------------------------------------------------------------------------------------------------------

    async def start(self, request: Request, effective: Effective, progress: Progress, spawned: Spawned) -> Record:
        """See ``Launch.start``. Everything made for a server that does not come up is removed, its home excepted."""
        with starting.plainly("the swarm"):
            return await self._start(request, effective, progress, spawned)

    async def _start(self, request: Request, effective: Effective, progress: Progress, spawned: Spawned) -> Record:
        progress("Preparing the home directory")
        async with self._preparing[request.user]:  # the storage may hang, and with it nothing else
            owner = await asyncio.to_thread(identified, self._settings, request, effective)
            group = effective.home_limit_by
            home = await self._kept.ensure(system_name(request.user), owner, group) if self._kept else None
            words: list[str] = []  # what is to be told is told in the loop
            server = await asyncio.to_thread(prepared, self._settings, request, effective, owner, home, words.append)
            for line in words:
                progress(line)
        while True:
            try:
                return await self._attempt(request, effective, server, progress, spawned)
            except Drained as problem:
                progress(f"{problem}; looking for another one")
            except StartFailed as problem:
                rest = without(server, problem, progress)
                if rest is None:
                    raise
                server = rest

    async def _attempt(
        self, request: Request, effective: Effective, server: Server, progress: Progress, spawned: Spawned
    ) -> Record:
        """Start it as it is to be; nothing is left of one that does not come up."""
        record = self._record(request, effective)
        starting.begin_log(Path(record.log))
        visit = self._doors.expect(server.seen, server.binds)
        try:
            starting.note(spawned, record)
            progress("Making the service")
            told = specification.program(self._settings, server, request, effective, visit.key)
            made = await self._services.make(record.handle["secret"], server, effective, told)
            record = known(record, service=made)
            record = await self._arrivals.until_up(record, visit, progress)
        except BaseException as error:
            if isinstance(error, StartFailed):
                say(record, str(error))
            if isinstance(error, StorageAway):
                self._keep(self._remove(record))
            else:
                await asyncio.shield(self._undo(record))
            raise
        finally:
            self._doors.forget(visit)
        progress("The server is up")
        return record

    def _record(self, request: Request, effective: Effective) -> Record:
        """As it is before anything is made: by these names it is found again, whatever comes in between."""
        log = self._layout.logs / "servers" / f"{request.id}.log"
        name = name_of(self._layout.hub, request.id)
        secret = f"{name}-{uuid.uuid4().hex[:12]}"  # by which this very start is known
        handle = {"name": name, "secret": secret, "limited": effective.memory_limit is not None}
        return Record(request.id, request.user, request.server, request.profile, "", time.time(), str(log), handle)

    # -- while it runs -----------------------------------------------------------------------------------------------

    async def poll(self, record: Record) -> Status:
        """See ``Launch.poll``."""
        try:
            task = await self._task(record)
            if task is None:
                return Stopped(None, "its service was removed by somebody else, so its exit code is not known")
            state = await state_now(self._board, task, record)
        except (EngineAway, Refused) as error:
            return Unknown(str(error))
        return Unknown("it is still on its way") if isinstance(state, Coming) else state

    async def _task(self, record: Record) -> dict[str, Any] | None:
        """The very task that became the server; None when it is not known any more."""
        if "task" in record.handle:
            return await self._api.task(record.handle["task"])
        found = await self._api.tasks({"name": [service_of(record)]})
        return found[-1] if found else None

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
                say(record, status.why)
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
        await self._services.remove(service_of(record), record.handle["secret"])
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
