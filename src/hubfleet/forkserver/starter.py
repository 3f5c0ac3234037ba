"""A starter of kernels: a process beside a user's server that becomes a kernel for each request, by forking.

It has gone through the imports of a kernel already, see ``kernels.py``. It is in the server's sandbox and has its
user's ids and limits; it knows no token, and nobody but the server has the other end of its socket. It ends with the
server.

A request is one message with three descriptors: a socket for all about this kernel, its standard output, and its
standard error. On that socket the server sends what the kernel is to be, as one line of JSON. The kernel tells its
process id with a descriptor of itself, or why only a plain start will do; begins when it hears a word; and tells when
it is up. When it has ended, the starter tells its exit code there. A server that does not wait any more closes the
socket.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import json
import os
import resource
import select
import socket
import sys
import types
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from hubfleet.forkserver import child, tied
else:
    import child
    import tied

DONE = child.DONE
MESSAGE, WORDS = 4096, 500  # bytes of a request; characters of a reason

REQUESTS, SERVER = 3, 4  # descriptors: the socket that requests come from, the server's process
PROGRAM = "ipykernel_launcher"
OWNER, ROOM = "JUPYTERHUB_USER", 256
"""The variable of a starter that says whose it is, for those who look into /proc; and how long its value can be."""

OWN = {*tied.NOBODYS, "JPY_PARENT_PID"}
"""Variables whose values at the time of the imports are replaced."""

REHEARSAL = """
import os, sys
begun = list(sys.modules)
import runpy
from pathlib import Path
early = [name for name in sys.modules if name not in begun]
del sys.path[0]
from ipykernel import kernelapp
def tell(app):
    os.write(%d, "\\n".join([*early, "", *sys.modules, %r]).encode())
    os._exit(0)
kernelapp.IPKernelApp.init_path = tell
place = os.environ["HOME"]
sys.argv = ["", "-f", f"{place}/rehearsal.json", "--transport=ipc", f"--ip={place}/rehearsal", "--log-level=50"]
kernelapp.launch_new_instance()
"""
"""A plain start up to the point where its notebook's folder comes into the module search path. Before it, the folder is
there while the first modules are imported: those come first."""


class Like(NamedTuple):
    """What has to be alike in a kernel for the starter's modules to be those it would import itself.

    ``asked``: variables that were looked up, and their values. ``made``: those that the modules have set. ``early``:
    modules that would have been taken from the notebook's folder. ``foreign``: modules that a kernel does not import.
    ``tied``: see ``tied.py``.
    """

    asked: dict[str, str | None]
    made: dict[str, str]
    early: list[str]
    foreign: list[str]
    tied: tied.Tied


def rehearse(spec: dict[str, Any], findings: int, sandbox: Any) -> NoReturn:
    """Tell the names of the modules, see `REHEARSAL`."""
    os.setsid()
    child.keep_only(os.open(os.devnull, os.O_RDONLY), 2, 2, findings)
    sandbox.enter({**spec, "argv": [sys.executable, "-c", REHEARSAL % (child.READY, DONE)]})
    os._exit(1)


def take_on(spec: dict[str, Any], descriptors: list[int], sandbox: Any) -> None:
    """Become the starter that belongs to a server. Nothing is read here of what is its user's."""
    os.setsid()
    output, requests, server = descriptors
    child.keep_only(os.open(os.devnull, os.O_RDONLY), output, output, requests, server)
    try:
        sandbox.confine({**spec, "join": SERVER})
    except OSError as error:
        sys.stderr.write(f"no starter of kernels: {error}\n")
        os._exit(126)
    ctypes.CDLL(None).prctl(child.PR_SET_DUMPABLE, 1, 0, 0, 0)
    child.show_value(OWNER, spec["environment"].get(OWNER, "").encode()[:ROOM])


def serve(like: Like) -> tuple[dict[str, Any], tuple[int, int], int]:
    """Answer requests until the server has gone; returns in a kernel that may begin: what it is, output, its socket."""
    requests = socket.socket(fileno=REQUESTS)
    kernels: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    for descriptor in (REQUESTS, SERVER):
        poll.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in kernels:
                poll.unregister(descriptor)
                _tell_end(descriptor, *kernels.pop(descriptor))
                continue
            message, passed, _, _ = socket.recv_fds(requests, MESSAGE, 3)
            if descriptor == SERVER or not message or len(passed) != 3:
                os._exit(0)
            channel = socket.socket(fileno=passed[0])
            try:
                pid = os.fork()
            except OSError:  # too many processes: a plain start will tell
                pid = -1
            if pid == 0:
                return _prepared(channel, like), (passed[1], passed[2]), channel.detach()
            for one in passed[1:]:
                os.close(one)
            if pid > 0:
                ended = os.pidfd_open(pid)
                poll.register(ended, select.POLLIN)
                kernels[ended] = pid, channel
            del channel


def _tell_end(descriptor: int, pid: int, channel: socket.socket) -> None:
    os.close(descriptor)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):  # nobody wants to know
        channel.sendall(b'{"code": %d}\n' % os.waitstatus_to_exitcode(status))
    channel.close()


def _prepared(channel: socket.socket, like: Like) -> dict[str, Any]:
    """Become the kernel that is asked for; returns what it is, once the server has said that it may begin."""
    os.setsid()
    try:
        with channel.makefile("rb") as file:
            request = json.loads(file.readline())
        reason = _take_on(request, like)
        own = os.pidfd_open(os.getpid())
        answer = {"plain": reason[:WORDS]} if reason else {"pid": os.getpid()}
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [own]))
        channel.sendmsg([json.dumps(answer).encode() + b"\n"], [rights])
        if channel.recv(1):
            return dict(request)
    except Exception as error:  # noqa: BLE001 - whatever it is, a plain start will do, or tell
        with contextlib.suppress(OSError):
            channel.sendall(json.dumps({"plain": f"{type(error).__name__}: {error}"[:WORDS]}).encode() + b"\n")
    os._exit(0)


def _take_on(request: dict[str, Any], like: Like) -> str:
    """Take on directory, limits and environment; returns why a plain start is needed, or nothing."""
    environment: dict[str, str] = request["environment"]
    known = {**{name: None for name in environment if name.startswith(tied.EARLY)}, **like.asked}
    alike = {name for name, value in known.items() if environment.get(name) in (value, like.made.get(name, value))}
    different = sorted(known.keys() - alike - OWN)
    if different:
        return f"{', '.join(different)} in its environment"
    os.chdir(request["directory"])
    shadowing = sorted({name.partition(".")[0] for name in os.listdir()} & {PROGRAM, *like.early})
    if shadowing:
        return f"{', '.join(shadowing)} in {request['directory']}"
    like.tied.release({**environment, **like.made})
    reason = child.reason_for_plain_start()
    if reason:
        return reason
    os.umask(request["umask"])
    for limit, values in request["limits"]:
        resource.setrlimit(limit, values)
    child.settle(like.tied)
    for name in like.foreign:
        del sys.modules[name]
    return ""


def run(request: dict[str, Any], output: tuple[int, int], channel: int) -> None:
    """Be the kernel: what `python -m ipykernel_launcher` runs."""
    reading, writing = os.pipe()
    os.close(writing)
    child.keep_only(reading, *output, SERVER, channel)
    for descriptor in (3, 4):
        os.set_inheritable(descriptor, False)
    child.signals()
    _end_with(3, 4)
    argv = request["argv"]
    child.show_as(argv, request["environment"], os.path.basename(argv[0]))
    sys.orig_argv = list(argv)
    sys.argv = ["-m", *argv[3:]]
    sys.path.insert(0, os.getcwd())
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.modules["runpy"]._run_module_as_main(PROGRAM)


def _end_with(server: int, channel: int) -> None:
    """Have the kernel end when the server does: in a plain start, that is its parent. It also tells when it is up."""
    from ipykernel import kernelapp  # type: ignore[import-not-found]
    from traitlets.log import get_logger

    tied.give_default(kernelapp.IPKernelApp.parent_handle, int(os.environ.get("JPY_PARENT_PID") or 0))

    class Poller(kernelapp.ParentPollerUnix):  # type: ignore[misc]
        """Waits for the end of a process that is not the parent."""

        def run(self) -> None:
            """See Thread; ipykernel starts it last of all."""
            with contextlib.suppress(OSError):  # nobody waits for it any more
                os.write(channel, b'{"up": true}\n')
            os.close(channel)
            poll = select.poll()
            poll.register(server, select.POLLIN)
            poll.poll()
            get_logger().warning("Parent appears to have exited, shutting down.")
            os._exit(1)

    kernelapp.ParentPollerUnix = Poller
