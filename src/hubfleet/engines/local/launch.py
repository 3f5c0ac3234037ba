"""User servers as processes of this machine.

Started by root, each runs under its own user id in a sandbox with limits; started by an ordinary user, each is a plain
process of that user. A server listens on a Unix socket in a directory that only its own user, the hub and the proxy
can enter, so no other user can even connect.
"""

from __future__ import annotations

import asyncio
import grp
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hubfleet.config import Mount
from hubfleet.config.effective import Effective
from hubfleet.engines.local import home as homes
from hubfleet.engines.local import sandbox
from hubfleet.engines.local.cgroups import Cgroups, Limits
from hubfleet.engines.local.processes import ProcessHandle
from hubfleet.engines.local.uids import NoIdLeft, uid_for
from hubfleet.errors import ConfigError
from hubfleet.launcher.base import Progress, Record, Request, Running, Spawned, StartFailed, Status, Stopped
from hubfleet.layout import Layout
from hubfleet.logfiles import tail
from hubfleet.names import short_id, system_name

START_LIMIT_S = 300.0

_BEGINNING = "--- server started"
"""What begins a line in the log at every start, so that nobody takes an earlier server's words for this one's."""

_SCRATCH = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")
"""Where everybody on a machine may write: each server gets its own."""


@dataclass(frozen=True)
class Settings:
    """The engine's part of ``launcher.json``.

    ``environment``: the users' Python environment. ``interpreter``: the installation it was made from.
    ``homes``: None when homes are not kept. ``group``: id of the group that hub and proxy share, None when not
    privileged. ``hide``: host directories that nobody sees but through a mount.
    """

    layout: Layout
    environment: Path
    interpreter: Path
    homes: Path | None
    skeleton: Path | None
    group: int | None
    hide: tuple[str, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Settings:
        def path(key: str) -> Path | None:
            return Path(data[key]) if data[key] else None

        layout = Layout(data["hub"], Path(data["base"]), data["privileged"])
        group = grp.getgrnam(data["hub_account"]).gr_gid if data["hub_account"] else None
        environment, interpreter = Path(data["environment"]), Path(data["interpreter"])
        hide = tuple(data["hide"])
        return cls(layout, environment, interpreter, path("homes"), path("skeleton"), group, hide)


class LocalLaunch:
    """Implements ``launcher.base.Launch`` for engine ``local``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._layout = settings.layout
        self._cgroups = Cgroups(settings.layout.hub)
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    # -- start ------------------------------------------------------------------------------------------------------

    async def start(self, request: Request, effective: Effective, progress: Progress, spawned: Spawned) -> Record:
        """See ``Launch.start``. Everything made for a server that does not come up is removed, its home excepted."""
        name = system_name(request.user)
        run = self._layout.servers_run / short_id(request.id)
        log = self._layout.logs / "servers" / f"{request.id}.log"
        try:
            uid = self._uid(name)
            progress("Preparing the home directory")
            home = self._home(request.id, name, uid)
            self._make_run_directory(run, uid)
            spec = self._specification(request, effective, name, uid, home, run / "server.sock")
            progress("Starting the server")
            child = _spawn(spec, log)
        except StartFailed:
            self._clean(request.id)
            raise
        except (OSError, NoIdLeft) as error:
            self._clean(request.id)
            raise StartFailed(f"the server could not be started: {error}") from error
        self._children[child.pid] = child
        handle = ProcessHandle.of(child.pid)
        socket = run / "server.sock"
        url = f"http+unix://{quote(str(socket), safe='')}"
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
            await self._until_listening(record, socket, effective)
        except BaseException as error:
            await asyncio.shield(self.stop(record, grace=0))
            if isinstance(error, OSError):
                raise StartFailed(f"the hub's disk does not take its record ({error.strerror})") from error
            raise
        progress("The server is up")
        return record

    def _uid(self, name: str) -> int | None:
        return uid_for(self._layout.uids, self._layout.hub, name) if self._layout.privileged else None

    def _home(self, server: str, name: str, uid: int | None) -> Path:
        kept = self._settings.homes
        if kept is not None:
            if kept.is_dir() and not (kept / homes.HOMES_MARKER).exists():
                raise StartFailed(f"{kept} is not as hubfleet left it: is its disk mounted? If so: hubfleet up")
            return homes.ensure_home(kept, name, uid, self._settings.skeleton)
        passing = self._layout.state / "passing-homes"
        passing.mkdir(mode=0o711, exist_ok=True)
        return homes.ensure_home(passing, server, uid, self._settings.skeleton)

    def _make_run_directory(self, run: Path, uid: int | None) -> None:
        """The directory of the server's socket: the server writes to it, hub and proxy may pass, nobody else."""
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(mode=0o700)
        if uid is not None:
            assert self._settings.group is not None
            os.chown(run, uid, self._settings.group)
            run.chmod(0o710)

    def _specification(
        self, request: Request, effective: Effective, name: str, uid: int | None, home: Path, socket: Path
    ) -> dict[str, Any]:
        program = self._settings.environment / "bin" / "jupyterhub-singleuser"
        # The socket may be open to all because its directory is not.
        argv = [str(program), f"--ServerApp.sock={socket}", "--ServerApp.sock_mode=0666"]
        prefix = request.environment.get("JUPYTERHUB_SERVICE_PREFIX", "/")
        inside = f"/home/{name}" if uid is not None else str(home)
        environment = {
            "PATH": f"{self._settings.environment}/bin:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "SHELL": "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh",
            **effective.environment,
            "HOME": inside,
            **request.environment,
            "JUPYTERHUB_SERVICE_URL": f"http+unix://{quote(str(socket), safe='')}{prefix}",
            "JUPYTERHUB_DEFAULT_URL": effective.default_url,
            "JUPYTERHUB_ROOT_DIR": inside,
            "JUPYTER_CONFIG_PATH": str(_extension(self._settings.environment)),
        }
        # Kernels talk to the server over Unix sockets in a private directory: their TCP ports would be open to all.
        argv.append("--KernelManager.transport=ipc")
        if uid is None:
            environment.update(USER=pwd.getpwuid(os.geteuid()).pw_name, JUPYTER_RUNTIME_DIR=str(socket.parent))
            return {"argv": argv, "environment": environment, "directory": inside}
        private = f"/run/user/{uid}"
        environment.update(USER=name, LOGNAME=name, XDG_RUNTIME_DIR=private, JUPYTER_RUNTIME_DIR=f"{private}/jupyter")
        limits = Limits(
            effective.memory_limit,
            effective.memory_guarantee,
            effective.cpu_limit,
            effective.cpu_guarantee,
            effective.processes,
        )
        room = str(int(effective.memory_limit)) if effective.memory_limit else "25%"  # of the machine's memory
        cgroups = [] if self._cgroups.problem else self._cgroups.create(request.id, limits)
        return {
            "argv": argv,
            "environment": environment,
            "directory": inside,
            "uid": uid,
            "gid": uid,
            "cgroups": cgroups,
            "umask": 0o022,
            "hide": [*self._settings.hide, "/run/user"],
            "hide_processes": True,
            "scratch": [[place, room] for place in (*(place for place in _SCRATCH if os.path.isdir(place)), private)],
            "show": [
                [str(home), inside, True],
                [str(self._settings.interpreter), str(self._settings.interpreter), False],
                [str(self._settings.environment), str(self._settings.environment), False],
                [str(self._layout.hub_socket.parent), str(self._layout.hub_socket.parent), False],
                [str(socket.parent), str(socket.parent), True],
            ],
            "mounts": [[_source(mount), mount.container, mount.mode == "rw"] for mount in effective.mounts],
            "identity": _identity_files(name, uid, inside),
        }

    async def _until_listening(self, record: Record, socket: Path, effective: Effective) -> None:
        """Return when the server's socket accepts; raise StartFailed as soon as its process is gone."""
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            status = await self.poll(record)
            if isinstance(status, Stopped):
                raise StartFailed(_failure_text(status, Path(record.log), effective))
            try:
                _, writer = await asyncio.open_unix_connection(str(socket))
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
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
        return Stopped(None, self._why(record, None))

    def _why(self, record: Record, code: int | None) -> str:
        # A cell that was ended for its memory leaves the server running; what ends that one later is another matter.
        if code in (None, -signal.SIGKILL) and self._cgroups.out_of_memory(record.id):
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

        def gone() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
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
        if self._settings.homes is None:
            shutil.rmtree(self._layout.state / "passing-homes" / server, ignore_errors=True)


def _extension(environment: Path) -> Path:
    """The directory of our Jupyter extension. Raises StartFailed for an environment that is not whole."""
    found = next(environment.glob("lib/*/site-packages/hubfleet_singleuser"), None)
    if found is None:
        raise StartFailed(f"the environment {environment} is not whole; an administrator has to run: hubfleet up")
    return found


def _source(mount: Mount) -> str:
    """Where a mount really comes from. Raises StartFailed if it is missing, or leads to what users must not see."""
    resolved = os.path.realpath(mount.host)
    if not os.path.isdir(resolved):
        raise StartFailed(f"{mount.host} is missing on this machine; an administrator has to create it")
    try:
        return Mount(resolved, mount.container, mount.mode).expand("", "").host
    except ConfigError as error:
        raise StartFailed(f"{mount.host} leads to {resolved}, which users must not see") from error


def _spawn(spec: Mapping[str, Any], log: Path) -> subprocess.Popen[bytes]:
    """Start the sandbox in a session of its own. The specification (it holds the token) goes through a pipe."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(output, f"{_BEGINNING} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
    try:
        command = [sys.executable, "-I", "-S", sandbox.__file__]
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env={},
        )
    finally:
        os.close(output)
    assert child.stdin is not None
    try:
        with child.stdin as pipe:
            pipe.write(json.dumps(spec).encode())
    except BrokenPipeError:
        pass  # it died at once; the caller finds out from its exit code and its log
    return child


def _identity_files(name: str, uid: int, home: str) -> dict[str, str]:
    """/etc/passwd and /etc/group as this user sees them: the machine's, and the user's own line first."""
    user = f"{name}:x:{uid}:{uid}::{home}:/bin/bash\n"
    passwd, group = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
    return {"/etc/passwd": user + passwd, "/etc/group": f"{name}:x:{uid}:\n{group}"}


def _failure_text(status: Stopped, log: Path, effective: Effective) -> str:
    if "memory limit" in status.why and effective.memory_limit is not None:
        return f"the server needs more than its memory limit of {effective.memory_limit}"
    # Only the end is read: the user's own code may have made the log as large as it likes.
    said = "\n".join(tail(log, 200)).rpartition(_BEGINNING)[2].partition("\n")[2]
    lines = [line for line in said.splitlines() if line.strip()]
    return f"{status.why}. It said last: {lines[-1][:300] if lines else 'nothing'}"
