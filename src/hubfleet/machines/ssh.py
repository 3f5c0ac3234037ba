"""Another machine, by the system's OpenSSH client: the user's own configuration, keys, agents and jump hosts count.

One connection carries everything: the agent goes over first, then requests and answers (see `agent.serve`). Secrets go
by that stream only, never onto a command line. Host keys must be known: nobody is asked, and nothing is accepted.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

from hubfleet.agent.base import Progress
from hubfleet.agent.lock import Holder
from hubfleet.agent.logs import Said
from hubfleet.agent.store import Store
from hubfleet.errors import UnreachableError
from hubfleet.machines.connection import Connection
from hubfleet.resources import Change, Observed, Resource


class SSHMachine:
    """A machine that is reached as ``ssh DESTINATION`` would reach it; ``options`` go to ssh before that.

    The connection is made when it is first needed, or at `open`, and kept until `close`. Raises UnreachableError where
    there is no way to run the agent there, or no more; what was begun is brought to its end by the agent.
    """

    def __init__(self, name: str, destination: str, options: Sequence[str] = ()) -> None:
        self._name, self._destination, self._options = name, destination, tuple(options)
        self._connection: Connection | None = None
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

    @cached_property
    def store(self) -> _RemoteStore:
        return _RemoteStore(self._ask)

    def open(self) -> None:
        """Begin to connect, without waiting for it. What goes wrong is told to the first who asks something."""
        threading.Thread(target=self._open, daemon=True).start()

    def _open(self) -> None:
        with self._one_at_a_time:
            try:
                self._connection = self._connection or Connection(self._name, self._destination, self._options)
            except UnreachableError as error:
                self._failure = error

    def facts(self) -> dict[str, Any]:
        """What the machine is and has; see `agent.facts.facts`."""
        return dict(self._ask("facts"))

    @contextlib.contextmanager
    def hold(self, directory: str) -> Iterator[Holder]:
        """Hold the lock in this directory for the body, while the connection lasts. Raises LockedError."""
        holder = Holder(**self._ask("hold", directory=directory))
        self.store.forget()  # what somebody else may have changed before
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

    def sources(self) -> dict[str, list[str]]:
        """Where its own tools get packages from; see `agent.sources.sources`."""
        return dict(self._ask("sources"))

    def listen(self, mark: str) -> None:
        """Begin to listen for what other machines `call`; see `agent.ways`."""
        self._ask("listen", mark=mark)

    def call(self, mark: str, sender: str, targets: Sequence[Sequence[str]]) -> list[list[str]]:
        """Send to addresses and what of each; returns what could not be sent."""
        return list(self._ask("call", mark=mark, sender=sender, targets=[list(target) for target in targets]))

    def heard(self, expected: Sequence[Sequence[str]]) -> list[list[str]]:
        """End to listen; of these, those that have not arrived."""
        return list(self._ask("heard", expected=[list(way) for way in expected]))

    def encrypts(self) -> bool | None:
        """Whether its kernel can encrypt what passes between machines; None: that cannot be seen."""
        return cast("bool | None", self._ask("encrypts"))

    def homes_trial(self, step: str, **given: Any) -> Any:
        """A step of trying out whether homes can be in a directory; see `agent.homestrial`."""
        return self._ask("homes_trial", step=step, given=given)

    def manifests(self, images: Sequence[str], authorities: str) -> dict[str, list[str]]:
        """What registries say of images, as seen from the machine; see `agent.registry.manifests`."""
        return dict(self._ask("manifests", images=list(images), authorities=authorities))

    def registry_access(self, images: Sequence[str], authorities: str, give: bool) -> dict[str, list[str]]:
        """The same as root is logged in there, and whether they could be given; see `agent.registry.access`."""
        return dict(self._ask("registry_access", images=list(images), authorities=authorities, give=give))

    def certificate(self, address: str, port: int, name: str) -> str:
        """The certificate (PEM) that is shown there to who asks for ``name``. Raises OSError if there is none."""
        return str(self._ask("certificate", address=address, port=port, name=name))

    def read_log(self, container: str, lines: int, after: str) -> Said:
        """What a container said; see `agent.logs.read_log`."""
        return Said(**self._ask("read_log", container=container, lines=lines, after=after))

    def secret(self, what: str) -> str:
        """What a step on another machine needs of this one; see `agent.secret`."""
        return str(self._ask("secret", what=what))

    def load(self, parts: Mapping[str, int]) -> dict[str, Any]:
        """What the machine has and how busy it is; see `agent.load.load`."""
        return dict(self._ask("load", parts=dict(parts)))

    def footprints(self, parts: Mapping[str, int], labels: Mapping[str, str], label: str) -> dict[str, Any]:
        """What processes and containers take; see `agent.load.footprints`."""
        return dict(self._ask("footprints", parts=dict(parts), labels=dict(labels), label=label))

    def observe(self, resources: Sequence[Resource]) -> dict[str, Observed | None]:
        # To look, nobody needs secrets, nor the half megabyte of which an image is built.
        return dict(self._ask("observe", resources=[resource.redacted().to_json() for resource in resources]))

    def apply(self, change: Change, progress: Progress) -> bool:
        told = {"action": change.action, "detail": change.detail, "impact": change.impact, "seen": change.seen}
        self.store.forget()
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
                self._connection = Connection(self._name, self._destination, self._options)
            try:
                return self._connection.ask({"verb": verb, **request}, progress)
            except UnreachableError:
                self.close()
                raise


class _RemoteStore(Store):
    """The same, asked of the agent there. Raises UnreachableError as well."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask
        self._asked: set[tuple[str, str]] = set()
        self._known: dict[tuple[str, str], Any] = {}

    def ahead(self, questions: Iterable[tuple[str, str]]) -> None:
        new = [question for question in questions if question not in self._asked]
        if new:
            self._known.update({(method, path): answer for method, path, answer in self._do("answers", new)})
            self._asked.update(new)

    def forget(self) -> None:
        """Ask anew whatever is asked for from now on."""
        self._asked.clear()
        self._known.clear()

    def _look(self, method: str, path: str) -> Any:
        known = (method, path) in self._known
        return self._known[method, path] if known else self._do(method, path)

    def _change(self, method: str, *arguments: Any) -> Any:
        self.forget()
        return self._do(method, *arguments)

    def _do(self, method: str, *arguments: Any) -> Any:
        return self._ask("store", method=method, arguments=arguments)

    def read(self, path: str) -> str | None:
        return cast("str | None", self._look("read", path))

    def write(self, path: str, text: str) -> None:
        self._change("write", path, text)

    def names(self, path: str) -> list[str]:
        return list(self._look("names", path))

    def make_directory(self, path: str, mode: int) -> None:
        self._change("make_directory", path, mode)

    def make_folder(self, path: str, files: Mapping[str, str]) -> None:
        self._change("make_folder", path, dict(files))

    def remove(self, path: str) -> None:
        self._change("remove", path)

    def point(self, link: str, name: str) -> None:
        self._change("point", link, name)

    def pointed(self, link: str) -> str | None:
        return cast("str | None", self._look("pointed", link))

    def database(self, path: str) -> dict[str, Any] | None:
        return cast("dict[str, Any] | None", self._do("database", path))

    def keep_database(self, path: str, target: str) -> bool:
        return bool(self._change("keep_database", path, target))

    def measure(self, path: str) -> dict[str, Any] | None:
        return cast("dict[str, Any] | None", self._do("measure", path))

    def room(self, path: str) -> int | None:
        return cast("int | None", self._do("room", path))

    def erase(self, path: str) -> None:
        self._change("erase", path)
