"""User servers as processes of this machine.

Started by root, each runs under its own user id in a sandbox with limits; started by an ordinary user, each is a plain
process of that user. A server listens on a Unix socket in a directory that only its own user, the hub and the proxy
can enter, so no other user can even connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hubfleet.config import Mount
from hubfleet.config.effective import Effective
from hubfleet.config.owner import Owner
from hubfleet.engines.ending import end
from hubfleet.engines.local import specification
from hubfleet.engines.local.cgroups import Cgroups, Limits
from hubfleet.engines.local.memory import MemoryWatch
from hubfleet.engines.local.plain import start_plainly
from hubfleet.engines.local.processes import ProcessHandle
from hubfleet.engines.local.specification import Settings
from hubfleet.engines.local.starters import Starters
from hubfleet.engines.mounted import require_mounted, those_there
from hubfleet.engines.uids import NoIdLeft, owner_of
from hubfleet.forkserver import tied
from hubfleet.forkserver.client import ForkServer
from hubfleet.homes.client import Homes, ServerHomes, homes_of
from hubfleet.homes.making import HomeFailed
from hubfleet.launcher.base import (
    Progress,
    Record,
    Request,
    Running,
    Spawned,
    StartFailed,
    Status,
    Stopped,
)
from hubfleet.logfiles import open_log, tail
from hubfleet.names import short_id, system_name

logger = logging.getLogger("hubfleet.launcher")

START_LIMIT_S = 300.0

_BEGINNING = "--- server started"
"""What begins a line in the log at every start, so that nobody takes an earlier server's words for this one's."""

_ASK_EVERY_S = 0.25


class LocalLaunch:
    """Implements ``launcher.base.Launch`` for engine ``local``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._layout = settings.layout
        self._homes = ServerHomes(homes_of(settings.keeper), settings.layout.passing_homes)
        self._cgroups = Cgroups(settings.layout.hub)
        self._memory = MemoryWatch(self._cgroups)
        self._holding: set[asyncio.Task[None]] = set()
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        python, log = settings.environment / "bin" / "python", settings.layout.logs / "fork-server.log"
        self._forks = ForkServer(python, log)
        self._kernels = Starters(python, log)

    @property
    def homes(self) -> Homes | None:
        """See ``Launch.homes``."""
        return self._homes.kept

    async def open(self) -> None:
        """See ``Launch.open``."""
        if self._homes.kept:
            # The first time it goes through all that people have, and they need not wait.
            self._holding.add(asyncio.create_task(self._homes.kept.hold_all()))
        self._memory.open()
        specification.rehearsal_directory(self._settings).mkdir(mode=0o700, exist_ok=True)
        try:
            settings = specification.fork_server(self._settings)
            kernels = specification.kernels(self._settings)
        except StartFailed as problem:  # every start will say so
            logger.warning("no fork server: %s", problem)
            return
        self._forks.open(settings)
        self._kernels.open(kernels)

    async def close(self) -> None:
        """See ``Launch.close``."""
        await end(self._holding)
        await self._memory.close()
        await self._kernels.close()
        await self._forks.close()
        await self._homes.close()

    # -- start ------------------------------------------------------------------------------------------------------

    def at_once(self) -> int | None:
        """See ``Launch.at_once``."""
        return None

    async def start(self, request: Request, effective: Effective, progress: Progress, spawned: Spawned) -> Record:
        """See ``Launch.start``. Everything made for a server that does not come up is removed, its home excepted."""
        name = system_name(request.user)
        run = self._layout.servers_run / short_id(request.id)
        log = self._layout.logs / "servers" / f"{request.id}.log"
        try:
            # Beside the loop: a file server that is away would stop it for everybody.
            await asyncio.to_thread(require_mounted, effective, "")
            effective = replace(effective, projects=tuple(those_there(effective, _sound, progress)))
            owner = self._owner(effective, name)
            progress("Preparing the home directory")
            home = await self._homes.of(request.id, name, owner, effective.home_limit_by)
            self._make_run_directory(run, owner)
            cgroups = self._limit(request.id, effective) if owner is not None else []
            server = (name, owner, home, run / "server.sock")
            spec = specification.server(self._settings, request, effective, *server, cgroups)
            progress("Starting the server")
            pid, ready, kernels = await self._spawn(spec, log, effective)
        except StartFailed:
            self._clean(request.id)
            raise
        except HomeFailed as error:
            self._clean(request.id)
            raise StartFailed(str(error)) from error
        except (OSError, NoIdLeft) as error:
            self._clean(request.id)
            raise StartFailed(f"the server could not be started: {error}") from error
        handle = ProcessHandle.of(pid)
        address = run / "server.sock"
        url = f"http+unix://{quote(str(address), safe='')}"
        record = Record(
            request.id,
            request.user,
            request.server,
            request.profile,
            url,
            time.time(),
            str(log),
            handle.to_json(),
        )
        try:
            spawned(record)
            await self._until_listening(record, address, ready, effective)
        except BaseException as error:
            if kernels:
                kernels.close()
            await asyncio.shield(self.stop(record, grace=0))
            if isinstance(error, OSError):
                raise StartFailed(f"the hub's disk does not take its record ({error.strerror})") from error
            raise
        finally:
            os.close(ready)
        if kernels:
            self._kernels.keep(kernels, handle, log, spec)
        progress("The server is up")
        return record

    def _owner(self, effective: Effective, name: str) -> Owner | None:
        return owner_of(effective, self._layout, name, self._settings.ids) if self._layout.privileged else None

    def _make_run_directory(self, run: Path, owner: Owner | None) -> None:
        """The directory of the server's socket: the server writes to it, hub and proxy may pass, nobody else."""
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(mode=0o700)
        if owner is not None:
            assert self._settings.group is not None
            os.chown(run, owner.uid, self._settings.group)
            run.chmod(0o710)

    def _limit(self, server: str, effective: Effective) -> list[str]:
        """Make the server's cgroups; returns the files that take the ids of its processes."""
        if self._cgroups.problem:
            return []
        limits = Limits(
            effective.memory_limit,
            effective.memory_guarantee,
            effective.cpu_limit,
            effective.cpu_guarantee,
            effective.processes,
        )
        return self._cgroups.create(server, limits)

    async def _spawn(
        self, spec: Mapping[str, Any], log: Path, effective: Effective
    ) -> tuple[int, int, socket.socket | None]:
        """Start a server: forked where that is possible and wanted, else plainly.

        Returns its process id, a descriptor on which it says that it is up, and a socket on which it asks for kernels;
        the caller closes these.
        """
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        output = open_log(log)
        hearing, saying = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        early = [name for name in effective.environment if name.startswith(tied.EARLY)]
        forked = effective.fast_start and not early
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) if forked else (None, None)
        try:
            os.write(output, f"{_BEGINNING} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
            pid = None
            if theirs:
                pid = await self._forks.spawn(spec, output, saying, theirs.fileno())
            if pid is None:
                if effective.fast_start:
                    reason = f"{', '.join(early)} in its environment" if early else "the fork server is away"
                    os.write(output, f"{_BEGINNING} plainly: {reason}\n".encode())
                child = start_plainly(spec, output, saying, theirs.fileno() if theirs else None)
                self._children[child.pid] = child
                pid = child.pid
        except BaseException:
            os.close(hearing)
            if ours:
                ours.close()
            raise
        finally:
            os.close(output)
            os.close(saying)
            if theirs:
                theirs.close()
        return pid, hearing, ours

    async def _until_listening(self, record: Record, address: Path, ready: int, effective: Effective) -> None:
        """Return when the server says that it is up; raise StartFailed as soon as its process is gone.

        One whose user has switched our extension off says nothing: then it is up when its socket accepts.
        """
        told = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(ready, _settle, told)
        try:
            deadline = time.monotonic() + START_LIMIT_S
            while time.monotonic() < deadline:
                await asyncio.wait([told], timeout=_ASK_EVERY_S)
                if told.done() and _read(ready):
                    return
                status = await self.poll(record)
                if isinstance(status, Stopped):
                    raise StartFailed(_failure_text(status, Path(record.log), effective))
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_unix_connection(str(address))
                    writer.close()
                    return
                if told.done():  # it has closed the descriptor without a word
                    await asyncio.sleep(_ASK_EVERY_S)
        finally:
            asyncio.get_running_loop().remove_reader(ready)
        raise StartFailed(f"the server did not answer within {START_LIMIT_S:.0f} seconds")

    # -- while it runs ----------------------------------------------------------------------------------------------

    async def poll(self, record: Record) -> Status:
        """See ``Launch.poll``."""
        handle = ProcessHandle.from_json(record.handle)
        child = self._children.get(handle.pid)
        if child is not None:
            code = child.poll()
            return Running() if code is None else Stopped(code, self._why(record, code))
        if handle.alive():
            return Running()
        code = await self._forks.exit_code(handle.pid)
        return Stopped(code, self._why(record, code))

    def _why(self, record: Record, code: int | None) -> str:
        # A cell that was ended for its memory leaves the server running; what ends that one later is another matter.
        if code in (None, -signal.SIGKILL) and self._cgroups.kills_for_memory(record.id):
            return "it went over its memory limit and the system ended it"
        if code is None:
            return "it ended while nobody was watching, so its exit code is not known"
        if code < 0:
            return f"it was ended by signal {signal.Signals(-code).name}"
        return "it stopped by itself" if code == 0 else f"it exited with code {code}"

    def watch(self, record: Record, ended: Callable[[Record], None]) -> None:
        """See ``Launch.watch``. The kernel tells: no polling."""
        handle = ProcessHandle.from_json(record.handle)
        loop = asyncio.get_running_loop()
        descriptor = handle.open()
        if descriptor is None:
            loop.call_soon(ended, record)
            return
        self._memory.keep(record)

        def gone() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._memory.forget(record)
            ended(record)

        loop.add_reader(descriptor, gone)

    # -- stop -------------------------------------------------------------------------------------------------------

    async def stop(self, record: Record, grace: float) -> None:
        """See ``Launch.stop``. Whatever the server left running is ended too."""
        handle = ProcessHandle.from_json(record.handle)
        if handle.signal(signal.SIGTERM):
            await handle.wait(grace)
            handle.signal(signal.SIGKILL)
            await handle.wait(5)
        self._forks.forget(handle.pid)
        child = self._children.pop(handle.pid, None)
        if child is not None:
            await asyncio.to_thread(child.wait)
        deadline = time.monotonic() + 5
        while self._cgroups.processes(record.id) and time.monotonic() < deadline:
            self._cgroups.kill(record.id)
            await asyncio.sleep(0.02)
        self._clean(record.id)

    def _clean(self, server: str) -> None:
        self._cgroups.remove(server)
        shutil.rmtree(self._layout.servers_run / short_id(server), ignore_errors=True)
        self._homes.forget(server)


def _sound(mount: Mount) -> Mount:
    """A mount that can be shown. Raises StartFailed."""
    specification.source(mount)
    return mount


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1)
    except BlockingIOError:
        return b""


def _failure_text(status: Stopped, log: Path, effective: Effective) -> str:
    if "memory limit" in status.why and effective.memory_limit is not None:
        return f"the server needs more than its memory limit of {effective.memory_limit}"
    # Only the end is read: the user's own code may have made the log as large as it likes.
    said = "\n".join(tail(log, 200)).rpartition(_BEGINNING)[2].partition("\n")[2]
    lines = [line for line in said.splitlines() if line.strip()]
    return f"{status.why}. It said last: {lines[-1][:300] if lines else 'nothing'}"
