"""Another machine, by the system's OpenSSH client: the user's own configuration, keys, agents and jump hosts count.

One connection carries everything: the agent goes over first, then requests and answers (see `agent.serve`). Secrets go
by that stream only, never onto a command line. Host keys must be known: nobody is asked, and nothing is accepted.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import IO, Any, cast

from hubfleet.agent.base import Progress
from hubfleet.agent.lock import Holder
from hubfleet.agent.logs import Said
from hubfleet.agent.serve import GREETING, REFUSED, SILENCE_S, SYSTEM
from hubfleet.agent.store import Store
from hubfleet.errors import HubfleetError, UnreachableError
from hubfleet.resources import Change, Observed, Resource
from hubfleet.sshcommand import OLDEST_PYTHON, start
from hubfleet.sshcommand import REFUSED as NO_AGENT
from hubfleet.unixhttp import Refused

_PREFACE_LIMIT = 65536
_END_LIMIT_S = 10.0


class SSHMachine:
    """A machine that is reached as ``ssh DESTINATION`` would reach it; ``options`` go to ssh before that.

    The connection is made when it is first needed, or at `open`, and kept until `close`. Raises UnreachableError where
    there is no way to run the agent there, or no more; what was begun is brought to its end by the agent.
    """

    def __init__(self, name: str, destination: str, options: Sequence[str] = ()) -> None:
        self._name, self._destination, self._options = name, destination, tuple(options)
        self._connection: _Connection | None = None
        self._failure: UnreachableError | None = None
        self._one_at_a_time = threading.Lock()

    @property
    def name(self) -> str:
        return self._name

    @cached_property
    def address(self) -> str:
        """The name or address that ssh connects to, with the user's configuration; asks ssh, not the machine."""
        asked = ["ssh", "-G", *self._options, "--", self._destination]
        said = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
        told = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
        return told.get("hostname", self._destination)

    @property
    def store(self) -> Store:
        return _RemoteStore(self._ask)

    def open(self) -> None:
        """Begin to connect, without waiting for it. What goes wrong is told to the first who asks something."""
        threading.Thread(target=self._open, daemon=True).start()

    def _open(self) -> None:
        with self._one_at_a_time:
            try:
                self._connection = self._connection or _Connection(self._name, self._destination, self._options)
            except UnreachableError as error:
                self._failure = error

    def facts(self) -> dict[str, Any]:
        """What the machine is and has; see `agent.facts.facts`."""
        return dict(self._ask("facts"))

    @contextlib.contextmanager
    def hold(self, directory: str) -> Iterator[Holder]:
        """Hold the lock in this directory for the body, while the connection lasts. Raises LockedError."""
        holder = Holder(**self._ask("hold", directory=directory))
        try:
            yield holder
        finally:
            if self._connection is not None:  # or else the lock ended with it
                self._ask("release")

    def request(self, path: str, method: str, target: str, body: Any, token: str | None, timeout: float) -> Any:
        """One HTTP request to a Unix socket there; see `unixhttp.request`."""
        asked = {"path": path, "method": method, "target": target, "body": body, "token": token, "timeout": timeout}
        return self._ask("request", **asked)

    def connect(self, address: str, port: int) -> None:
        """Raises OSError if nothing listens there, as seen from the machine."""
        self._ask("connect", address=address, port=port)

    def probe(self, names: Sequence[str], targets: Sequence[tuple[str, int]]) -> dict[str, Any]:
        """Where names lead, and whether hosts and ports answer, as seen from the machine; see `agent.outside.probe`."""
        return dict(self._ask("probe", names=list(names), targets=list(targets)))

    def manifests(self, images: Sequence[str], authorities: str) -> dict[str, list[str]]:
        """What registries say of images, as seen from the machine; see `agent.registry.manifests`."""
        return dict(self._ask("manifests", images=list(images), authorities=authorities))

    def certificate(self, address: str, port: int, name: str) -> str:
        """The certificate (PEM) that is shown there to who asks for ``name``. Raises OSError if there is none."""
        return str(self._ask("certificate", address=address, port=port, name=name))

    def read_log(self, container: str, lines: int, after: str) -> Said:
        """What a container said; see `agent.logs.read_log`."""
        return Said(**self._ask("read_log", container=container, lines=lines, after=after))

    def secret(self, what: str) -> str:
        """What a step on another machine needs of this one; see `agent.secret`."""
        return str(self._ask("secret", what=what))

    def observe(self, resources: Sequence[Resource]) -> dict[str, Observed | None]:
        # To look, nobody needs secrets, nor the half megabyte of which an image is built.
        return dict(self._ask("observe", resources=[resource.redacted().to_json() for resource in resources]))

    def apply(self, change: Change, progress: Progress) -> bool:
        told = {"action": change.action, "detail": change.detail, "impact": change.impact, "seen": change.seen}
        return bool(self._ask("apply", progress, change={"resource": change.resource.to_json(), **told}))

    def close(self) -> None:
        """End the agent there; locks that it holds are free again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(self, verb: str, progress: Progress = lambda text: None, **request: Any) -> Any:
        with self._one_at_a_time:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            if self._connection is None:
                self._connection = _Connection(self._name, self._destination, self._options)
            try:
                return self._connection.ask({"verb": verb, **request}, progress)
            except UnreachableError:
                self.close()
                raise


class _RemoteStore(Store):
    """The same, asked of the agent there. Raises UnreachableError as well."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def _do(self, method: str, *arguments: Any) -> Any:
        return self._ask("store", method=method, arguments=arguments)

    def read(self, path: str) -> str | None:
        return cast("str | None", self._do("read", path))

    def write(self, path: str, text: str) -> None:
        self._do("write", path, text)

    def names(self, path: str) -> list[str]:
        return list(self._do("names", path))

    def make_directory(self, path: str, mode: int) -> None:
        self._do("make_directory", path, mode)

    def make_folder(self, path: str, files: Mapping[str, str]) -> None:
        self._do("make_folder", path, dict(files))

    def remove(self, path: str) -> None:
        self._do("remove", path)

    def point(self, link: str, name: str) -> None:
        self._do("point", link, name)

    def pointed(self, link: str) -> str | None:
        return cast("str | None", self._do("pointed", link))

    def database(self, path: str) -> dict[str, Any] | None:
        return cast("dict[str, Any] | None", self._do("database", path))

    def keep_database(self, path: str, target: str) -> bool:
        return bool(self._do("keep_database", path, target))

    def measure(self, path: str) -> dict[str, Any] | None:
        return cast("dict[str, Any] | None", self._do("measure", path))

    def room(self, path: str) -> int | None:
        return cast("int | None", self._do("room", path))

    def erase(self, path: str) -> None:
        self._do("erase", path)


class _Connection:
    """One ssh process with the agent at its other end."""

    def __init__(self, name: str, destination: str, options: Sequence[str]) -> None:
        self._name = name
        started = start(destination, options)
        self._ssh, self._errors = started.process, started.errors
        self._closed = threading.Event()
        self._writing = threading.Lock()
        self._begin()
        threading.Thread(target=self._keep_alive, daemon=True).start()

    @property
    def _input(self) -> IO[bytes]:
        assert self._ssh.stdin is not None
        return self._ssh.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._ssh.stdout is not None
        return self._ssh.stdout

    def _begin(self) -> None:
        preface = b""
        for line in self._output:
            if line.endswith(GREETING):
                return
            preface = (preface + line)[-_PREFACE_LIMIT:]
        raise self._no_way(preface.decode(errors="replace"))

    def ask(self, request: dict[str, Any], progress: Progress) -> Any:
        """Send a request and wait for its answer."""
        self._send(json.dumps(request).encode() + b"\n")
        for line in self._output:
            said = json.loads(line)
            if "progress" in said:
                progress(said["progress"])
            elif "error" in said:
                raise _error(said["error"], self._name)
            else:
                return said["answer"]
        raise self._lost(request["verb"])

    def _send(self, data: bytes) -> None:
        with self._writing:
            try:
                self._input.write(data)
                self._input.flush()
            except (BrokenPipeError, ValueError):
                return  # it has ended, and what it said tells why

    def _keep_alive(self) -> None:
        while not self._closed.wait(SILENCE_S / 4):
            self._send(b'{"verb": "alive"}\n')

    def close(self) -> None:
        self._closed.set()
        with self._writing, contextlib.suppress(BrokenPipeError):  # it has ended
            self._input.close()
        try:
            self._ssh.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._ssh.kill()
            self._ssh.wait()
        self._output.close()
        self._errors.close()

    # -- what went wrong ---------------------------------------------------------------------------------------------

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def _lost(self, verb: str) -> UnreachableError:
        self._ssh.wait()
        last = [line for line in self._said().splitlines() if line.strip()][-1:]
        return UnreachableError(
            "; ".join(["the connection was lost", *last]),
            where=self._name,
            state="A step that was begun there is brought to its end" if verb == "apply" else None,
            remedy="the same command again; it carries on from there",
        )

    def _no_way(self, preface: str) -> UnreachableError:
        code, said = self._ssh.wait(), self._said()
        refused = next((line for line in preface.splitlines() if line.startswith("hubfleet: ")), "")
        what, remedy = _reason(code, said, refused.removeprefix("hubfleet: "), preface)
        self.close()
        return UnreachableError(what, where=self._name, state="Nothing was changed there", remedy=remedy)


def _reason(code: int, said: str, refused: str, preface: str) -> tuple[str, str]:
    """Why the agent did not answer, and what to do. ``said``: by ssh; ``refused``: by the first lines there."""
    needed = ".".join(map(str, OLDEST_PYTHON))
    if code == NO_AGENT and refused:
        return {
            "no python3": ("it has no python3", f"install Python {needed} or newer there (apt install python3)"),
            "no sudo": ("the account there is not root, and there is no sudo", "name root, or install sudo there"),
            "sudo asks": ("sudo asks for a password there", "allow the account NOPASSWD in sudoers, or name root"),
        }.get(refused, (f"it has {refused.capitalize()} only", f"install Python {needed} or newer there"))
    for words, what, remedy in _SSH_SAYS:
        if words in said:
            return what, remedy
    last = [line for line in [*preface.splitlines(), *said.splitlines()] if line.strip()][-1:]
    return f"ssh ended with {code}: {' '.join(last) or 'without a word'}", "ssh to it by hand, to see what is wrong"


_SSH_SAYS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one that is known: it was installed anew, or another machine answers in its place",
        "find out which; if it was installed anew: ssh-keygen -R with its name, then ssh to it once",
    ),
    (
        "Host key verification failed",
        "its host key is not known here",
        "ssh to it once by hand, and compare the fingerprint before you say yes",
    ),
    (
        "Permission denied",
        "it does not let us in with any of the keys that ssh has here",
        "ssh-copy-id to it, or load the key into ssh-agent",
    ),
    ("Could not resolve hostname", "there is no such name", "correct the address"),
    ("Connection refused", "nothing answers at its SSH port", "start sshd there, or correct address and port"),
    ("timed out", "it does not answer", "see whether it is up and a firewall lets SSH through"),
    ("No route to host", "there is no way to it through the network", "see whether it is up"),
)


def _error(told: dict[str, Any], machine: str) -> HubfleetError | OSError:
    """The error as it was raised there; one of no file in particular names the machine."""
    if told["kind"] == SYSTEM:
        number, words, file = told["words"]
        return OSError(number, words, file or machine)
    if told["kind"] == REFUSED:
        return Refused(*told["words"])
    kinds = {kind.__name__: kind for kind in HubfleetError.__subclasses__()}
    return kinds.get(told["kind"], HubfleetError)(**told["words"])
