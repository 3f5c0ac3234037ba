"""The server's side of a starter of kernels: a kernel's process is as `subprocess.Popen` has it, and nobody hangs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from forked import children, cmdline
from harness import RunningHub, await_that
from kernels import alive

import needs
from hubfleet.engines.local import specification
from hubfleet.engines.local.processes import ProcessHandle
from hubfleet.engines.local.starters import Starters
from hubfleet.singleuser import kernels

pytestmark = needs.root()


class Made:
    """A starter beside a process that stands for the server."""

    def __init__(self, settings: specification.Settings, folder: Path) -> None:
        self.python = str(settings.environment / "bin" / "python")
        self.folder = folder
        self.environment = {**specification.common(settings), "HOME": str(folder), "USER": "own"}
        self.starters = Starters(settings.environment / "bin" / "python", folder / "log")
        self.starters.open(specification.kernels(settings))
        self.server = subprocess.Popen(["sleep", "600"])
        self.output = (folder / "output").open("ab")
        self.pid = 0

    async def starter(self) -> kernels.Starter:
        """One that is there already; ``self.pid``."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server = ProcessHandle.of(self.server.pid)
        self.starters.keep(ours, server, Path(self.output.name), {"environment": self.environment})
        starter = kernels.Starter(theirs.detach(), logging.getLogger("server"))
        await asyncio.wait_for(self.starters._forks._ready.wait(), 90)
        kernel = await asyncio.to_thread(self.start, starter)
        assert kernel is not None
        kernel.kill()
        kernel.wait(10)
        self.pid = max(children(self.starters._forks.pid or 0))
        return starter

    def start(self, starter: kernels.Starter, startup: str = "") -> kernels.ForkedKernel | None:
        """A kernel that runs this code when it is up."""
        profile = self.folder / ".ipython" / "profile_default" / "startup"
        profile.mkdir(parents=True, exist_ok=True)
        (profile / "own.py").write_text(startup)
        connection = {
            **{f"{name}_port": place for place, name in enumerate(("shell", "iopub", "stdin", "hb", "control"), 1)},
            "ip": str(self.folder / "k"),
            "transport": "ipc",
            "key": "k",
            "signature_scheme": "hmac-sha256",
        }
        file = self.folder / "kernel.json"
        file.write_text(json.dumps(connection))
        command = [self.python, "-m", "ipykernel_launcher", "-f", str(file)]
        environment = {**self.environment, "JPY_PARENT_PID": str(self.server.pid)}
        return starter.start(command, environment, str(self.folder))

    def kernels(self) -> list[int]:
        """Those that run, however they were started."""
        pids = [int(one.name) for one in Path("/proc").glob("[0-9]*")]
        return [pid for pid in pids if str(self.folder).encode() in cmdline(pid)]


@pytest.fixture
def ignoring() -> Iterator[None]:
    """The launcher ignores a hang-up, as one does that was started with `nohup`."""
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, kept)


@pytest.fixture
async def made(hub: RunningHub, tmp_path: Path) -> AsyncIterator[Made]:
    engine = json.loads((hub.state / "launcher" / "launcher.json").read_text())["engine"]
    made = Made(specification.Settings.from_json(engine), tmp_path)
    yield made
    made.server.kill()
    made.server.wait()
    made.output.close()
    await made.starters.close()


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for a starter that does not answer."""
    monkeypatch.setattr(kernels, "ANSWER_LIMIT_S", 0.5)
    monkeypatch.setattr(kernels, "CODE_LIMIT_S", 0.5)


async def test_an_exit_code_is_as_a_childs(made: Made) -> None:
    starter = await made.starter()
    for code, expected in (("import os; os._exit(7)", 7), ("import os; os.kill(os.getpid(), 15)", -15)):
        kernel = made.start(starter, code)
        assert kernel is not None
        assert kernel.wait(30) == expected
        assert kernel.poll() == kernel.returncode == expected
        kernel.kill()  # as with subprocess, this is for nobody
    kernel = made.start(starter)
    assert kernel is not None
    assert kernel.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        kernel.wait(0.2)
    kernel.kill()
    assert kernel.wait(30) == -signal.SIGKILL
    assert not os.path.exists(f"/proc/{kernel.pid}"), "it has been waited for"  # noqa: ASYNC240 - nothing to wait for


async def test_a_kernel_is_there_when_it_has_been_started(made: Made) -> None:
    """Who asks it before it can hear waits for half a second. A user's own startup file may take long, though."""
    starter = await made.starter()
    for pause, least, most in ((0.6, 0.6, 5), (30, kernels.UP_LIMIT_S, 10)):
        begun = time.monotonic()
        kernel = await asyncio.to_thread(made.start, starter, f"import time; time.sleep({pause})")
        assert kernel is not None
        assert least <= time.monotonic() - begun < most
        assert kernel.poll() is None
        kernel.kill()
        kernel.wait(30)


async def test_signals_arrive_whatever_the_launcher_ignores(ignoring: None, made: Made) -> None:
    starter = await made.starter()
    told = "import signal; open('told', 'w').write(repr(signal.getsignal(signal.SIGHUP)))"
    kernel = await asyncio.to_thread(made.start, starter, told)
    assert kernel is not None
    assert "SIG_DFL" in (made.folder / "told").read_text()
    kernel.kill()
    kernel.wait(30)


async def test_a_kernel_outlives_its_starter_and_not_its_server(made: Made) -> None:
    starter = await made.starter()
    kernel = made.start(starter)
    assert kernel is not None
    os.kill(made.pid, signal.SIGKILL)
    await asyncio.to_thread(await_that, "the starter has ended", lambda: not alive(made.pid))
    await asyncio.sleep(1.5)  # longer than ipykernel waits before it looks whether its parent is another
    assert kernel.poll() is None
    assert alive(kernel.pid)
    assert made.start(starter) is None
    made.server.kill()
    assert await asyncio.to_thread(kernel.wait, 30) == 0, "nobody knows"


async def test_a_starter_that_hangs_costs_a_moment_once(made: Made, quickly: None) -> None:
    starter = await made.starter()
    os.kill(made.pid, signal.SIGSTOP)
    begun = time.monotonic()
    assert made.start(starter) is None
    assert 0.4 < time.monotonic() - begun < 5
    begun = time.monotonic()
    assert made.start(starter) is None
    assert time.monotonic() - begun < 0.2
    os.kill(made.pid, signal.SIGCONT)  # what it had been asked for is not wanted any more
    await asyncio.to_thread(await_that, "the starter has ended", lambda: not alive(made.pid))
    assert not made.kernels()


async def test_the_end_of_a_kernel_is_known_without_its_code(made: Made, quickly: None) -> None:
    starter = await made.starter()
    kernel = made.start(starter)
    assert kernel is not None
    os.kill(made.pid, signal.SIGSTOP)
    kernel.kill()
    assert await asyncio.to_thread(kernel.wait, 30) == 0
    os.kill(made.pid, signal.SIGKILL)


async def test_a_kernel_that_was_not_told_to_begin_does_not(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that waits no longer has started it plainly: there must not be two."""
    starter = await made.starter()

    heard: list[int] = []
    hear = socket.recv_fds

    def late(own: socket.socket, size: int, most: int) -> int:
        heard.extend(hear(own, size, most)[1])
        raise TimeoutError("too late")

    with monkeypatch.context() as patch:
        patch.setattr(kernels.socket, "recv_fds", late)
        assert made.start(starter, "open('begun', 'w')") is None
    assert kernels._readable(heard[0], 10), "the fork has ended"
    await asyncio.to_thread(await_that, "the starter has ended", lambda: not alive(made.pid))
    assert not made.kernels()
    assert not (made.folder / "begun").exists()
