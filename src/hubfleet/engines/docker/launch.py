"""User servers as containers, each of an image of its own making with a user id, limits and files of its own.

A server listens on a Unix socket in a directory that only its own user, the hub and the proxy can enter. What it is to
become it learns at its `door`, on which it also says when it is up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hubfleet.config.effective import Effective
from hubfleet.engines import contained, starting
from hubfleet.engines.docker import specification
from hubfleet.engines.docker.door import Door
from hubfleet.engines.docker.identity import Identities
from hubfleet.engines.docker.specification import Server, Settings
from hubfleet.engines.dockerapi import Api, EngineAway, Refused
from hubfleet.engines.ending import end
from hubfleet.engines.mounted import require_mounted, those_there
from hubfleet.engines.output import Outputs
from hubfleet.engines.places import Place, place_of, real_path, with_inner
from hubfleet.engines.uids import owner_of
from hubfleet.homes.client import Homes, ServerHomes, homes_of
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
from hubfleet.names import short_id, system_name

logger = logging.getLogger("hubfleet.launcher")

START_LIMIT_S = 300.0
AGAIN_S = 1.0
"""How soon an engine that was away is asked again."""
PATIENCE_S = 30.0
"""How long stopping a server waits for an engine that is away; less than the hub waits for the launcher."""
_SWEEP_LIMIT_S = 5.0
_LOOK_EVERY_S = 1.0
_SIGNALLED = 128  # what the first process of a container adds to a signal's number


class DockerLaunch:
    """Implements ``launcher.base.Launch`` for engine ``docker``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._layout = settings.layout
        self._homes = ServerHomes(homes_of(settings.keeper), settings.layout.passing_homes, settings.skeleton)
        self._api = Api(settings.engine_socket)
        self._outputs = Outputs(self._api.follow, self._api.ended)
        self._identities = Identities(self._api, self._layout.hub, self._layout.launcher_dir / "identities")
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def homes(self) -> Homes | None:
        """See ``Launch.homes``."""
        return self._homes.kept

    async def open(self) -> None:
        """See ``Launch.open``. Removes what a launcher that was killed has made and not started."""
        try:
            await asyncio.wait_for(self._sweep(), _SWEEP_LIMIT_S)
        except (EngineAway, Refused, asyncio.TimeoutError) as problem:
            logger.warning("the Docker engine was not looked through for leftovers: %s", problem)

    async def _sweep(self) -> None:
        ours = (f"{contained.HUB_LABEL}={self._layout.hub}", contained.SERVER_LABEL)
        for name in await self._api.leftovers(*ours):
            await self._api.remove(name)

    async def close(self) -> None:
        """See ``Launch.close``."""
        await end(self._tasks)
        await self._outputs.close()
        await self._api.close()
        await self._homes.close()

    # -- start ------------------------------------------------------------------------------------------------------

    def at_once(self) -> int | None:
        """See ``Launch.at_once``."""
        return None

    async def start(self, request: Request, effective: Effective, progress: Progress, spawned: Spawned) -> Record:
        """See ``Launch.start``. Everything made for a server that does not come up is removed, its home excepted."""
        with starting.plainly("the Docker engine"):
            return await self._start(request, effective, progress, spawned)

    async def _start(self, request: Request, effective: Effective, progress: Progress, spawned: Spawned) -> Record:
        name = contained.name_of(self._layout.hub, request.id)
        await self._api.remove(name)  # one that a killed launcher has left
        tag = self._settings.image_of(effective)
        image = await self._api.image(tag)
        if image is None:
            missing = f"the image {tag} is not on this machine"
            raise StartFailed(f"{missing}; an administrator has to run: hubfleet up")
        try:
            progress("Preparing the home directory")
            server = await self._prepared(request, effective, image, progress)
            program = specification.program(self._settings, server, request, effective)
            door = Door(server.door, server.owner.uid, program, server.places)
            await door.open()
        except BaseException:
            self._clean(request.id)
            raise
        made = name
        try:
            server.run.chmod(0o710)  # while it is ours
            os.chown(server.run, server.owner.uid, self._settings.hub_gid)
            progress("Making the container")
            made = await self._api.create(name, specification.container(self._settings, server, effective))
            record = self._record(request, server, made)
            starting.note(spawned, record)
            progress("Starting the server")
            await self._run(record, door, effective)
        except BaseException:
            await asyncio.shield(self._undo(made, request.id))
            raise
        finally:
            await door.close()
        progress("The server is up")
        return record

    async def _prepared(self, request: Request, effective: Effective, image: str, progress: Progress) -> Server:
        """Make what a server's container is to show. Raises StartFailed, OSError, NoIdLeft, and as `Api`."""
        root, name = self._settings.host_root, system_name(request.user)
        # Beside the loop: a file server that is away would stop it for everybody.
        await asyncio.to_thread(require_mounted, effective, root)
        owner = owner_of(effective, self._layout, name, self._settings.ids, root)
        made = real_path(str(await self._homes.of(request.id, name, owner, effective.home_limit_by)), root)
        home = Place.of(made, f"/home/{name}", True, root)
        projects = those_there(effective, lambda mount: place_of(mount, root), progress)
        shown = [*(place_of(mount, root) for mount in effective.mounts), *projects]
        places = [*with_inner(home, root), *(inner for place in shown for inner in with_inner(place, root))]
        run = self._layout.servers_run / short_id(request.id)
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(mode=0o700)
        identity = await self._identities.write(short_id(request.id), image, name, owner)
        folders = (effective.projects_at,) if effective.projects_at else ()
        return Server(request.id, name, owner, run, identity, places, folders)

    def _record(self, request: Request, server: Server, container: str) -> Record:
        log = self._layout.logs / "servers" / f"{request.id}.log"
        url = f"http+unix://{quote(str(server.socket), safe='')}"
        handle = {"container": container}
        return Record(request.id, request.user, request.server, request.profile, url, time.time(), str(log), handle)

    async def _run(self, record: Record, door: Door, effective: Effective) -> None:
        """Start the container and return when the server is up; raise StartFailed as soon as it is gone."""
        container, log = _container(record), Path(record.log)
        starting.begin_log(log)
        await self._api.start(container)
        self._outputs.follow(container, log, fresh=True)
        gone = asyncio.create_task(self._until_gone(record))
        try:
            deadline = time.monotonic() + START_LIMIT_S
            while time.monotonic() < deadline:
                await asyncio.wait((door.up, gone), timeout=_LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                if door.up.done():
                    return door.up.result()
                if gone.done():
                    raise StartFailed(await self._failure_text(record, gone.result(), effective))
                # One whose user has switched our extension off never says that it is up.
                if await _accepts(self._layout.servers_run / short_id(record.id) / "server.sock"):
                    return None
        finally:
            gone.cancel()
        raise StartFailed(f"the server did not answer within {START_LIMIT_S:.0f} seconds")

    async def _failure_text(self, record: Record, status: Stopped, effective: Effective) -> str:
        if "memory limit" in status.why and effective.memory_limit is not None:
            return f"the server needs more than its memory limit of {effective.memory_limit}"
        said = await self._api.said(_container(record), lines=20)
        lines = [line for line in said.splitlines() if line.strip()]
        return f"{status.why}. It said last: {lines[-1][:300] if lines else 'nothing'}"

    async def _undo(self, container: str, server: str) -> None:
        """Remove what was made for a server that has not come up; later, if the engine is away."""
        try:
            await self._remove(container)
        except (EngineAway, Refused):
            self._keep(self._remove_later(container))
        self._clean(server)

    async def _remove_later(self, container: str) -> None:
        while True:
            await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(EngineAway, Refused):
                return await self._remove(container)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- while it runs ----------------------------------------------------------------------------------------------

    async def poll(self, record: Record) -> Status:
        """See ``Launch.poll``."""
        try:
            found = await self._api.inspect(_container(record))
        except (EngineAway, Refused) as error:
            return Unknown(str(error))
        if found is None:
            return Stopped(None, "its container was removed by somebody else, so its exit code is not known")
        state = found["State"]
        if state["Running"]:
            return Running()
        if state["Status"] == "created":
            return Stopped(None, "its container was never started")
        return Stopped(state["ExitCode"], _why(state))

    def watch(self, record: Record, ended: Callable[[Record], None]) -> None:
        """See ``Launch.watch``. The engine tells; when it goes away it is asked again as soon as it is back."""
        self._outputs.follow(_container(record), Path(record.log), fresh=False)
        self._keep(self._tell_end(record, ended))

    async def _tell_end(self, record: Record, ended: Callable[[Record], None]) -> None:
        await self._until_gone(record)
        ended(record)

    async def _until_gone(self, record: Record) -> Stopped:
        """Return when the server is certainly not there any more."""
        while True:
            with contextlib.suppress(EngineAway, Refused):
                await self._api.wait(_container(record))
                if isinstance(status := await self.poll(record), Stopped):
                    return status
            await asyncio.sleep(AGAIN_S)

    # -- stop -------------------------------------------------------------------------------------------------------

    async def stop(self, record: Record, grace: float) -> None:
        """See ``Launch.stop``. Raises EngineAway when the engine stays away: the server may then run on."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                await self._api.stop(_container(record), grace)
                await self._remove(_container(record))
                break
            except EngineAway:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(AGAIN_S)
        self._clean(record.id)

    async def _remove(self, container: str) -> None:
        await self._outputs.finish(container)
        await self._api.remove(container)

    def _clean(self, server: str) -> None:
        shutil.rmtree(self._layout.servers_run / short_id(server), ignore_errors=True)
        self._identities.remove(short_id(server))
        self._homes.forget(server)


def _container(record: Record) -> str:
    return str(record.handle["container"])


def _why(state: dict[str, Any]) -> str:
    code = int(state["ExitCode"])
    number = code - _SIGNALLED
    # A cell that was ended for its memory leaves the server running; what ends that one later is another matter.
    if number == signal.SIGKILL and state["OOMKilled"]:
        return "it went over its memory limit and the system ended it"
    if number in {entry.value for entry in signal.Signals}:
        return f"it was ended by signal {signal.Signals(number).name}"
    if state.get("Error"):
        return f"the Docker engine could not run it: {state['Error']}"
    return "it stopped by itself" if code == 0 else f"it exited with code {code}"


async def _accepts(address: Path) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_unix_connection(str(address))
        writer.close()
        return True
    return False
