"""The first program of a server that is a batch job: keeps the way to the hub open, and runs the server behind it.

``python -I job.py FILE``. FILE says what to run, and holds the hub's tokens and the key of the tunnel: it is read once,
if nobody else could read it, and removed. Standard library only, and one file, for it is sent with each job; the other
side is ``engines/slurm``.

The way is an `ssh` to the hub's machine, which listens there for the server; it is made again whenever it drops. The
server itself listens on a socket that only its account can reach. Where a cluster's nodes cannot connect to the hub,
the server listens in the cluster's network instead, and says beside FILE where.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

GRACE_S = 20.0
"""How long the server has to end; after 30 s, as most clusters have it, Slurm kills everything."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
LASTING_S = 1.0
"""A connection that is still there after this long has got its port."""
PATIENCE_S = 120.0
"""How long the first way to the hub may take."""
UNUSABLE, NO_WAY = 78, 75
"""Exit codes: FILE is not as it has to be; the hub was never reached."""
_UP = "hubfleet-up"
_OF_THE_API = ("JUPYTERHUB_API_URL", "JUPYTERHUB_ACTIVITY_URL")
_TOLD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PASSED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)


class NoWay(Exception):
    """The hub cannot be reached from here."""


def say(words: str) -> None:
    """Into the job's output, where the hub finds it."""
    sys.stdout.write(f"hubfleet: {words}\n")
    sys.stdout.flush()


# -- what to do ------------------------------------------------------------------------------------------------------


def taken(path: str) -> dict[str, Any]:
    """What FILE says; it is gone then. Raises OSError for one that others could read, ValueError for no such text."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(file, encoding="utf-8") as opened:
        if stat.S_IMODE(os.fstat(file).st_mode) & 0o077:
            raise PermissionError(1, "is not this account's alone", path)
        os.unlink(path)
        wanted: dict[str, Any] = json.loads(opened.read())
        return wanted


def private_directory() -> Path:
    """A new directory of this node for this job only; in memory if there is some, for a key is in it."""
    for place in ("/dev/shm", tempfile.gettempdir()):
        with contextlib.suppress(OSError):
            return Path(tempfile.mkdtemp(prefix="hubfleet-", dir=place))
    raise PermissionError(1, "there is no place for the server's socket", tempfile.gettempdir())


def put(path: Path, text: str) -> None:
    """Make a file for this account only."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)


def environment(wanted: Mapping[str, Any], private: Path, ends: float | None) -> dict[str, str]:
    """The server's: what Slurm and the site's own lines have set, and over it what the hub says."""
    entry = pwd.getpwuid(os.geteuid())
    usual = {
        "HOME": entry.pw_dir,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    # Kernels' sockets have to be on this node's own disk.
    ours = {"JUPYTER_RUNTIME_DIR": str(private / "jupyter"), "HUBFLEET_NOTICE": str(private / "notice")}
    if ends:
        ours["HUBFLEET_ENDS"] = str(int(ends))
    found = {**usual, **os.environ, **ours, **wanted["environment"]}
    way = wanted.get("way")
    if way and way.get("api"):
        for name in _OF_THE_API:
            if name in found:
                found[name] = f"http+unix://{quote(str(private / 'api.sock'), safe='')}{urlsplit(found[name]).path}"
    return found


def end_of_time(wanted: Mapping[str, Any]) -> float | None:
    """When Slurm will end the job, in seconds since 1970; None when there is no limit."""
    told = os.environ.get("SLURM_JOB_END_TIME", "")  # of newer versions
    if told.isdigit():
        return float(told)
    return time.time() + wanted["limit"] if wanted.get("limit") else None


# -- the way to the hub ----------------------------------------------------------------------------------------------


def ssh_command(way: Mapping[str, Any], private: Path) -> list[str]:
    """The client that has the hub's machine listen for the server. Nothing of the user's own settings counts."""
    options = {
        "BatchMode": "yes",
        "IdentityFile": str(private / "key"),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": "hub",
        "UserKnownHostsFile": str(private / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "ControlPath": "none",
        "ExitOnForwardFailure": "yes",
        "StreamLocalBindUnlink": "yes",  # of a connection that is gone
        "ForwardAgent": "no",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        "PermitLocalCommand": "yes",
        "LocalCommand": f"echo {_UP}",
        "LogLevel": "ERROR",
    }
    api = way.get("api")
    return [
        *(way.get("ssh", "ssh"), "-F", "none", "-N", "-T", "-p", str(way["port"])),
        *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
        *("-R", f"127.0.0.1:{way['listen']}:{private / 'server.sock'}"),
        *(["-L", f"{private / 'api.sock'}:{api['host']}:{api['port']}"] if api else []),
        f"{way['user']}@{way['host']}",
    ]


class Tunnel:
    """The way to the hub, which is made again whenever it drops. ``first`` is set when it was there once."""

    def __init__(self, way: Mapping[str, Any], private: Path) -> None:
        put(private / "key", way["key"])
        put(private / "known_hosts", f"hub {way['host_key']}\n")
        self._command = ssh_command(way, private)
        self._where = f"{way['host']}, TCP port {way['port']}"
        self._patience = way.get("patience", PATIENCE_S)
        self.first = asyncio.Event()

    async def keep(self) -> None:
        """Never returns. Raises NoWay when the hub could not be reached at all for too long."""
        begun, pause, down = time.monotonic(), FIRST_PAUSE_S, False
        while True:
            lasted, why = await self._once(down)
            if lasted:
                pause, down = FIRST_PAUSE_S, False
            if not self.first.is_set() and time.monotonic() - begun > self._patience:
                raise NoWay(f"this node cannot reach the hub ({self._where}): {why}")
            if not down:
                say(f"no way to the hub ({self._where}): {why}; trying again")
            down = True
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_S, pause * 2)

    async def _once(self, again: bool) -> tuple[bool, str]:
        """One connection, to its end. Whether it had got its port, and the last that was said."""
        pipe = asyncio.subprocess.PIPE
        # A shell runs the client's own command, and shall not read what the user's would.
        plain = {"PATH": "/usr/local/bin:/usr/bin:/bin", "SHELL": "/bin/sh", "LC_ALL": "C"}
        try:
            ssh = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=plain
            )
        except OSError as error:
            return False, f"{self._command[0]}: {error.strerror}"
        noting = asyncio.create_task(self._note(ssh, again))
        try:
            assert ssh.stderr is not None
            said = (await ssh.stderr.read()).decode(errors="replace")
            await ssh.wait()
            lasted = noting.done() and noting.result()
        finally:
            noting.cancel()
            if ssh.returncode is None:
                ssh.kill()
                await ssh.wait()
        last = (said.strip().splitlines() or [f"ssh ended with {ssh.returncode}"])[-1].strip()
        return lasted, last

    async def _note(self, ssh: asyncio.subprocess.Process, again: bool) -> bool:
        assert ssh.stdout is not None
        while (line := await ssh.stdout.readline()).strip() != _UP.encode():
            if not line:
                return False
        await asyncio.sleep(LASTING_S)
        if again or not self.first.is_set():
            say("the way to the hub is there")
        self.first.set()
        return True


def listen_here(file: str, node: str) -> tuple[str, int]:
    """A free port of this node's, which is written down beside FILE, for a hub that comes to it."""
    host = socket.gethostbyname(node)
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = int(probe.getsockname()[1])
    where = Path(file).with_suffix(".where")
    beside = where.with_suffix(".new")
    beside.unlink(missing_ok=True)
    put(beside, json.dumps({"host": host, "node": node, "port": port}))
    os.replace(beside, where)
    return host, port


# -- the server ------------------------------------------------------------------------------------------------------


class Server:
    """The server, and why it ended."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], directory: str, ends: float | None) -> None:
        self._argv, self._env, self._directory, self._ends = argv, env, directory, ends
        self._process: asyncio.subprocess.Process | None = None
        self._told: signal.Signals | None = None
        self._killed = False

    async def run(self, grace: float) -> tuple[int, str]:
        """Until it ends; its exit code and why. Signals to this program reach it."""
        loop = asyncio.get_running_loop()
        place = self._directory or self._env["HOME"]
        self._process = await asyncio.create_subprocess_exec(
            *self._argv, env=self._env, cwd=place, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        for number in _TOLD:
            loop.add_signal_handler(number, self.stop, number, grace)
        for number in _PASSED:
            loop.add_signal_handler(number, self._send, number)
        code = await self._process.wait()
        return (code if code >= 0 else 128 - code), self._why(code)

    def stop(self, number: signal.Signals, grace: float) -> None:
        """Have it end: politely, then after a while for good."""
        if self._told is None:
            self._told = number
            self._send(signal.SIGTERM)
            asyncio.get_running_loop().call_later(grace, self._kill)

    def _kill(self) -> None:
        self._killed = True
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                if number == signal.SIGKILL:
                    os.killpg(self._process.pid, number)
                else:
                    self._process.send_signal(number)

    def _why(self, code: int) -> str:
        if self._told is not None:
            up = self._ends is not None and time.time() > self._ends - 1
            why = "its time was up" if up else f"it was told to end ({self._told.name})"
            return f"{why}, and had to be killed" if self._killed else why
        if code == 0:
            return "it stopped by itself"
        if code > 0:
            return f"it ended with code {code}"
        name = signal.Signals(-code).name
        more = ", as the system does with one that needs more memory than its job has"
        return f"it was ended by signal {name}{more if name == 'SIGKILL' else ''}"


async def warn(ends: float, before: Sequence[float], notice: Path) -> None:
    """Say in time that the time will be up: in the output, and in the file that the server is told of."""
    for left in sorted(before, reverse=True):
        if ends - left < time.time():
            continue
        await asyncio.sleep(ends - left - time.time())
        minutes, clock = round(left / 60), time.strftime("%H:%M", time.localtime(ends))
        span = f"{minutes} minute{'s' if minutes > 1 else ''}" if minutes else f"{left:.0f} seconds"
        words = f"this server will be ended in {span}, at {clock}: save your work"
        say(words)
        fresh = notice.with_suffix(".new")
        put(fresh, json.dumps({"ends": ends, "words": words}))
        os.replace(fresh, notice)


# -- all of it -------------------------------------------------------------------------------------------------------


async def run(wanted: Mapping[str, Any], file: str, private: Path) -> int:
    """Run the server until it or its way is over; returns the exit code of the job."""
    ends, way = end_of_time(wanted), wanted.get("way")
    env, argv = environment(wanted, private, ends), list(wanted["argv"])
    prefix = wanted.get("prefix", "/")
    beside: list[Awaitable[None]] = []
    if way:
        tunnel = Tunnel(way, private)
        argv.append(f"--ServerApp.sock={private / 'server.sock'}")
        env["JUPYTERHUB_SERVICE_URL"] = f"http+unix://{quote(str(private / 'server.sock'), safe='')}{prefix}"
        beside.append(tunnel.keep())
    else:
        host, port = listen_here(file, os.environ.get("SLURMD_NODENAME") or socket.gethostname())
        env["JUPYTERHUB_SERVICE_URL"] = f"http://{host}:{port}{prefix}"
    if ends:
        beside.append(warn(ends, wanted.get("warn", ()), private / "notice"))
    server = Server(argv, env, wanted.get("directory", ""), ends)
    grace = wanted.get("grace", GRACE_S)
    serving = asyncio.ensure_future(server.run(grace))
    others = [asyncio.ensure_future(one) for one in beside]
    try:
        waiting = {serving, *others}
        while not serving.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for one in done - {serving}:
                one.result()  # a warning was the last one, or there is no way
        code, why = serving.result()
        say(f"the server ended: {why}")
        return code
    except NoWay as problem:
        server.stop(signal.SIGTERM, grace)
        await serving
        say(f"the server ended: {problem}")
        return NO_WAY
    finally:
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def main() -> int:
    """Returns the exit code of the job."""
    os.umask(0o077)
    # Until the server is there to be told; nothing of ours is left on the node then either.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    file = sys.argv[1]
    try:
        wanted = taken(file)
        private = private_directory()
    except (OSError, ValueError) as error:
        say(f"the server was not started: {error}")
        return UNUSABLE
    try:
        # The output goes on from one job of a server to the next.
        say(f"job {os.environ.get('SLURM_JOB_ID', '')} begins on {os.environ.get('SLURMD_NODENAME', '')}")
        os.umask(wanted.get("umask", 0o022))
        return asyncio.run(run(wanted, file, private))
    except OSError as error:
        say(f"the server was not started: {error}")
        return UNUSABLE
    finally:
        shutil.rmtree(private, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
