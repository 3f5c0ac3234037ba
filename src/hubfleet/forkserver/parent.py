"""The parent of users' servers: ``python parent.py <settings as JSON>``, started by the launcher.

It runs in the users' environment, imports what a server imports, and then waits. A request is one message on an
inherited socket with descriptors: one to read the server's specification from, one for its output, one on which it says
that it is up, and one that leads to its starter of kernels (see ``starter.py``). The specification holds a user's
token, so only the child reads it. The launcher writes it once it knows the child: one whose request was given up reads
nothing, and ends.

The parent answers ``{"id", "pid"}`` to each request, and tells ``{"ended", "code"}`` of each child that ends, as
`subprocess` counts codes. When the launcher closes the socket, it ends; its children go on without it.

Where the launcher is root, so is the parent, for a child has to become its user. It therefore imports nothing but
packages of the locked list: what was added to the environment is imported by the child, as its user.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

PR_SET_DUMPABLE = 4
MESSAGE = 4096  # bytes, at most, of a request or an answer
MOST = 4  # descriptors of a request

REHEARSAL_LIMIT_S = 60
OWN = "hubfleet_singleuser"
OWN_CONFIGURATION = "jupyter_server_config.py"
"""In there: it asks for one thing of the user, whether the home is full, which the child asks again."""
PARTS = ("child", "known", "pages", "prepared", "routes", "tied")

FIRST = ("jupyterhub.singleuser", "jupyter_server.serverapp")
# Imported by a server after it has started: for a page, a kernel, a terminal, a notebook.
LATER = (
    "anyio._backends._asyncio",
    "ipykernel.kernelspec",
    "jupyter_client.asynchronous",
    "jupyter_client.provisioning.local_provisioner",
    "jupyter_server.services.kernels.connection.channels",
    "jupyter_server.services.nbconvert.handlers",
    "jupyter_server_terminals.terminalmanager",
    "nbformat.v4",
    "terminado",
    "zmq.asyncio",
    "zmq.eventloop.zmqstream",
)


def load_module(name: str, path: str) -> Any:
    """A module from a file that is on no search path."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # for as long as it is being made: `dataclasses` looks there
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules.pop(name, None)
    return module


def preload(modules: Iterable[str]) -> list[str]:
    """Import them; returns those that could not be, with the reason."""
    return attempt((name, functools.partial(importlib.import_module, name)) for name in modules)


def attempt(parts: Iterable[tuple[str, Callable[[], object]]]) -> list[str]:
    """Do them all; returns the names of those that could not be done, with the reason."""
    failed = []
    for name, part in parts:
        try:
            part()
        except Exception as error:  # noqa: BLE001 - a server that needs it will say so itself
            failed.append(f"{name}: {type(error).__name__}: {error}")
    return failed


def rehearse(spec: dict[str, Any], child: Any, *how: Any) -> list[str] | None:
    """What a server finds on its way up, told by a fork that may do nothing; see `child.rehearse`. None: it failed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        child.rehearse(spec, writing, *how)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        ready, _, _ = select.select([pipe], [], [], REHEARSAL_LIMIT_S)
        found = pipe.read().split("\n") if ready else []
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return found[:-1] if found and found[-1] == child.DONE else None


def trusted(modules: Iterable[str], distributions: Iterable[str]) -> list[str]:
    """Those of the modules that belong to the standard library, to hubfleet, or to one of the distributions."""
    tops = {*sys.stdlib_module_names, OWN}
    for name in distributions:
        try:
            files = importlib.metadata.distribution(name).files or ()
        except importlib.metadata.PackageNotFoundError:
            continue
        tops |= {file.parts[0].partition(".")[0] for file in files}
    return [module for module in modules if module.partition(".")[0] in tops]


def tell_ready(control: socket.socket, rehearsed: list[str], failed: list[str], not_prepared: str = "") -> None:
    """Tell the launcher that requests are answered now, and what is for its log; never more than a MESSAGE."""
    about = {
        "rehearsed": len(rehearsed),
        "threads": len(os.listdir("/proc/self/task")),
        "not_prepared": not_prepared[:1000],
        "failed": [one[:200] for one in failed[:10]],
    }
    control.send(json.dumps({"ready": True, **about}).encode())


class Parent:
    """Forks a child for each request; in the child, `serve` returns the specification to follow.

    ``fresh``: whether what was prepared is still as it would be prepared now. If not, the parent ends: there will be
    another. ``fork``: how to fork.
    """

    def __init__(
        self, control: socket.socket, fresh: Callable[[], bool] | None, fork: Callable[[], int] = os.fork
    ) -> None:
        self._control = control
        self._fresh = fresh
        self._divide = fork
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._children: set[int] = set()

    def serve(self) -> tuple[dict[str, Any], list[int]]:
        """Answer requests. Returns in a child only: its specification, and the other descriptors of the request."""
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self._control.fileno(), self._woken], [], [])
            if self._woken in ready:
                os.read(self._woken, MESSAGE)
                self._reap()
            if self._control.fileno() in ready:
                message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE, MOST)
                if not message or (self._fresh and not self._fresh()):
                    self._end()
                if self._fork(json.loads(message), descriptors):
                    return self._read(descriptors[0]), descriptors[1:]

    def _fork(self, request: dict[str, Any], descriptors: list[int]) -> bool:
        """Whether this is the child."""
        pid = self._divide()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            os.close(self._woken)
            os.close(self._waker)
            return True
        self._children.add(pid)
        for descriptor in descriptors:
            os.close(descriptor)
        self._tell({"id": request["id"], "pid": pid})
        return False

    def _read(self, descriptor: int) -> dict[str, Any]:
        with open(descriptor, encoding="utf-8") as file:
            text = file.read()
        if not text:
            os._exit(0)
        spec: dict[str, Any] = json.loads(text)
        return spec

    def _reap(self) -> None:
        for pid in list(self._children):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._children.discard(pid)
                self._tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})

    def _tell(self, answer: dict[str, Any]) -> None:
        try:
            self._control.send(json.dumps(answer).encode())
        except OSError:  # the launcher has gone
            self._end()

    def _end(self) -> NoReturn:
        os._exit(0)


def home_is_full() -> bool:
    """Whether there is next to no room in the home of this process."""
    room = importlib.import_module(f"{OWN}.room")
    return bool(room.is_full(room.home_directory()))


def code_of_others(files: Iterable[str]) -> list[str]:
    """Those of the configuration files that are programs, less hubfleet's own."""
    spec = importlib.util.find_spec(OWN)
    own = {f"{place}/{OWN_CONFIGURATION}" for place in (spec.submodule_search_locations or () if spec else ())}
    return sorted(name for name in files if name.endswith(".py") and name not in own)


def why_not_prepared(foreign: list[str] | None, files: Iterable[str], audit: Callable[[], list[str] | None]) -> str:
    """Why servers have to be started from the beginning in this environment; nothing if they can be prepared.

    ``foreign``: what a server imports and this process may not; None if that is not known. ``files``: the system's
    configuration. ``audit`` tells what of nobody is left in a server that was prepared.
    """
    unknown = "a rehearsal did not get to its end"
    if foreign is None:
        return unknown
    code = code_of_others(files)
    if code:
        return f"{', '.join(code)} may ask who it runs for"
    if home_is_full():
        return "there is no room for a rehearsal"
    if foreign:
        return f"{', '.join(foreign)}: not from hubfleet's own list of packages"
    left = audit()
    if left is None:
        return unknown
    return f"still of nobody: {', '.join(left)}" if left else ""


def main() -> None:
    """Preload, wait, and in each child become the server that was asked for."""
    settings = json.loads(sys.argv[1])
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # nobody of the same user id may look into it
    control = socket.socket(fileno=settings["control"])
    sys.path[0] = os.path.dirname(settings["program"])
    here = os.path.dirname(os.path.abspath(__file__))
    child, known, pages, prepared, routes, ties = (
        load_module(f"hubfleet_{name}", f"{here}/{name}.py") for name in PARTS
    )
    sandbox = load_module("hubfleet_sandbox", settings["sandbox"])
    ties.remember_what_is_asked()
    offers = known.Offers()
    gc.disable()  # what is collected between imports leaves holes that later writes fill: shared pages become private
    failed = preload(FIRST)
    own = settings["rehearsal"]["environment"]["JUPYTERHUB_SERVICE_PREFIX"]
    ways = functools.partial(routes.rests, beginning=own)
    rehearsed = rehearse(settings["rehearsal"], child, sandbox, ties.Tied(), ways)
    needed = [name for name in rehearsed or () if not name.startswith("/")]
    addresses = routes.compiled(name[1:] for name in rehearsed or () if name.startswith("/"))
    ours = trusted(needed, settings["distributions"])
    failed += preload(ours)
    failed += preload(LATER)
    failed += attempt(known.answers(offers))
    tied = ties.Tied.found()
    begin = functools.partial(prepared.begin, settings["program"], settings["arguments"], tied)
    foreign = None if rehearsed is None else sorted(set(needed) - set(ours) - set(sys.modules))
    files = prepared.configuration()
    audit = functools.partial(rehearse, settings["rehearsal"], child, sandbox, tied, ways, begin, ties.left_over)
    reason = why_not_prepared(foreign, files, audit)

    def pause() -> list[str]:
        pages.settle()
        tell_ready(control, needed, failed, reason)
        fresh = None if reason else lambda: prepared.configuration() == files
        spec, descriptors = Parent(control, fresh).serve()
        child.take_on(spec, descriptors, sandbox, tied)
        command: list[str] = spec["argv"]
        theirs = set() if reason else prepared.configuration().items() ^ files.items()
        if theirs:
            child.start_plainly(command, f"{', '.join(sorted({name for name, _ in theirs}))} configures it")
        if not reason and home_is_full():
            child.start_plainly(command, "the home is full")
        routes.share(addresses, os.environ["JUPYTERHUB_SERVICE_PREFIX"])
        return command

    if reason:
        pause()
        sys.exit(importlib.import_module("jupyterhub.singleuser").main())
    begin(pause)


if __name__ == "__main__":
    main()
