"""Starts Python kernels by asking the server's starter of kernels, which forks (hubfleet's ``forkserver/starter.py``).

A kernel that is not the environment's own Python, and one that its starter finds reason for, is started as Jupyter does
it. So is every kernel when the starter is not there: then that is said in the log, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import EntryPoint
from typing import Any

from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

NAME = "hubfleet"
USUAL = "local-provisioner"
COMMAND = ["-m", "ipykernel_launcher", "-f"]
KNOWN = {"env", "cwd", "kernel_id", "extra_arguments"}

ANSWER_LIMIT_S = 10.0  # less than what a plain start takes on a machine so busy
CODE_LIMIT_S = 2.0  # for the exit code of a kernel that has ended
LINE = 4096

UP_LIMIT_S = 1.0
"""For a fork to be up: usually it takes a tenth of that. Jupyter Server connects right after the start, and tries again
after half a second when the other end is not there yet."""


def fork_kernels(server: Any) -> None:
    """Have kernels started by the starter that the launcher has told of, if any. Call before there is a kernel."""
    descriptor = os.environ.pop("HUBFLEET_KERNELS", None)
    if descriptor is None:
        return
    ForkingProvisioner.starter = Starter(int(descriptor), server.log)
    start = server.kernel_manager.start_kernel

    def start_kernel(*args: Any, **kwargs: Any) -> Any:
        _prefer_forks(server)  # only now: the ways there are to start kernels are looked for in all packages
        return start(*args, **kwargs)

    server.kernel_manager.start_kernel = start_kernel


def _prefer_forks(server: Any) -> None:
    """Make it the usual way to start kernels, unless the user has chosen another."""
    factory = KernelProvisionerFactory.instance(parent=server)
    if factory.default_provisioner_name == USUAL:
        name = f"{__name__}:{ForkingProvisioner.__name__}"
        factory.provisioners[NAME] = EntryPoint(NAME, name, KernelProvisionerFactory.GROUP_NAME)
        factory.default_provisioner_name = NAME


class ForkingProvisioner(LocalProvisioner):
    """Jupyter's way to start kernels, with a fork where that does the same."""

    starter: Starter | None = None

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """See LocalProvisioner."""
        if self.starter is None or not _is_own(cmd) or set(kwargs) - KNOWN:
            return await super().launch_kernel(cmd, **kwargs)
        environment = {**kwargs.get("env", os.environ), "JPY_PARENT_PID": str(os.getpid())}
        kernel = await asyncio.to_thread(self.starter.start, cmd, environment, kwargs.get("cwd") or os.curdir)
        if kernel is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process: Any = kernel
        self.pid = self.pgid = kernel.pid
        self.cwd = kwargs.get("cwd", pathlib.Path.cwd())
        return self.connection_info


def _is_own(cmd: list[str]) -> bool:
    return cmd[:-1] == [sys.executable, *COMMAND] and cmd[-1].startswith("/")


class Starter:
    """This server's starter of kernels. May be asked from any thread."""

    def __init__(self, descriptor: int, log: Any) -> None:
        self._socket: socket.socket | None = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._log = log

    def start(self, argv: list[str], environment: dict[str, str], directory: str) -> ForkedKernel | None:
        """Have a kernel forked; None where it has to be started plainly."""
        if self._socket is None:
            return None
        request = {
            "argv": argv,
            "environment": environment,
            "directory": os.path.abspath(directory),
            "umask": _umask(),
            "limits": [
                (getattr(resource, name), resource.getrlimit(getattr(resource, name)))
                for name in dir(resource)
                if name.startswith("RLIMIT_")
            ],
        }
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._socket.settimeout(ANSWER_LIMIT_S)
                socket.send_fds(self._socket, [b"kernel"], [theirs.fileno(), 1, 2])
            return self._fork(ours, request)
        except OSError as error:
            self._log.warning("Kernels are started plainly from now on, their starter does not answer: %s", error)
            self._socket.close()
            self._socket = None
            ours.close()
            return None

    def _fork(self, ours: socket.socket, request: dict[str, Any]) -> ForkedKernel | None:
        """Tell a fork what it is to be; None where it cannot. Raises TimeoutError where it does not answer."""
        ours.settimeout(ANSWER_LIMIT_S)
        reason = "its fork has died, or was refused"
        descriptors: list[int] = []
        with contextlib.suppress(ConnectionError, ValueError):
            ours.sendall(json.dumps(request).encode() + b"\n")
            said, descriptors, _, _ = socket.recv_fds(ours, LINE, 1)
            answer = json.loads(said)
            if "pid" in answer:
                ours.sendall(b"+")
                return ForkedKernel(answer["pid"], descriptors[0], ours, request["argv"], _until_up(ours))
            reason = answer["plain"]
        for descriptor in descriptors:
            os.close(descriptor)
        ours.close()
        self._log.info("This kernel is started plainly: %s", reason)
        return None


class ForkedKernel:
    """A kernel's process, with what `subprocess.Popen` has for a child's; this one is not a child."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, descriptor: int, channel: socket.socket, args: list[str], told: bytes) -> None:
        self.pid, self.args = pid, args
        self.returncode: int | None = None
        self._descriptor, self._channel = descriptor, channel
        self._channel.setblocking(False)
        self._told = told
        self._ended_at: float | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """How it has ended; None while it runs."""
        with self._lock:
            if self.returncode is None:
                self.returncode = self._code()
                if self.returncode is not None:
                    self._channel.close()
                    os.close(self._descriptor)
            return self.returncode

    def _code(self) -> int | None:
        gone = False
        try:
            said = self._channel.recv(LINE)
            self._told += said
            gone = not said
        except BlockingIOError:
            pass
        except OSError:
            gone = True
        for line in self._told.splitlines(keepends=True):
            if line.endswith(b"\n") and "code" in (known := json.loads(line)):
                return int(known["code"])
        if not _readable(self._descriptor, 0):
            return None
        self._ended_at = self._ended_at or time.monotonic()
        if gone or time.monotonic() - self._ended_at > CODE_LIMIT_S:
            return 0  # nobody knows: as `subprocess` says of a child that somebody else has waited for
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Return how it has ended, when it has. Raises `subprocess.TimeoutExpired`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            _readable(self._channel.fileno(), CODE_LIMIT_S if left is None else min(left, CODE_LIMIT_S))
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal to this process and no other."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def _until_up(channel: socket.socket) -> bytes:
    """Wait until the kernel says that it is up, or has ended, but not for long; returns what it said."""
    channel.settimeout(UP_LIMIT_S)
    try:
        return channel.recv(LINE)
    except TimeoutError:  # its user's startup files take their time
        return b""


def _readable(descriptor: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def _umask() -> int:
    with open("/proc/self/status") as file:
        return int(next(line.split()[1] for line in file if line.startswith("Umask:")), 8)
