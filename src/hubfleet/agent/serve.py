"""The agent on another machine: answers requests that come by its standard input, one JSON object a line.

A request has a ``verb``, one of `_VERBS`, or ``alive``. Each but that is answered by any number of lines with
``progress``, and then one with ``answer`` or ``error``. ``hold`` takes the lock, which is free again after ``release``,
or when the agent ends: by the end of its input, or when it has heard nothing for `SILENCE_S`, since a connection may
die without an end. A change that was begun is brought to its end first.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from hubfleet import unixhttp
from hubfleet.agent.converge import apply, observe
from hubfleet.agent.store import Store
from hubfleet.errors import HubfleetError
from hubfleet.resources.base import Change
from hubfleet.resources.registry import from_json

GREETING = b"hubfleet agent 1\n"
"""Comes first: what stands before it is what the machine's login shell had to say."""
SILENCE_S = 60.0
SYSTEM, REFUSED = "system", "refused"
"""The kinds of errors of the operating system, and of who was asked over a socket; others have their class's name."""


def main() -> None:
    """Answer until the operator is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that is run here may write between our lines
    requests: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, requests), daemon=True).start()
    with ExitStack() as held:
        serve(requests, _Answers(answers), held)


def _read(stream: IO[bytes], requests: queue.Queue[bytes]) -> None:
    """A thread of its own, since a change may take long, and the operator's signs of life come meanwhile."""
    for line in stream:
        requests.put(line)
    requests.put(b"")


class _Answers:
    """Lines to the operator; what is said to one who is gone is dropped, for a change goes on to its end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.gone = False
        self._write(GREETING)

    def __call__(self, **line: Any) -> None:
        self._write(json.dumps(line).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        if self.gone:
            return
        try:
            self._stream.write(line)
            self._stream.flush()
        except OSError:
            self.gone = True


def serve(requests: queue.Queue[bytes], say: _Answers, held: ExitStack) -> None:
    """Answer one request after another."""
    while not say.gone:
        try:
            line = requests.get(timeout=SILENCE_S)
        except queue.Empty:
            return
        if not line:
            return
        request = json.loads(line)
        if request["verb"] == "alive":
            continue
        try:
            say(answer=_VERBS[request["verb"]](request, lambda text: say(progress=text), held))
        except HubfleetError as error:
            words = {"what": error.what, "where": error.where, "state": error.state, "remedy": error.remedy}
            say(error={"kind": type(error).__name__, "words": words})
        except unixhttp.Refused as error:
            say(error={"kind": REFUSED, "words": [error.status, str(error)]})
        except OSError as error:
            say(error={"kind": SYSTEM, "words": [error.errno, error.strerror or str(error), error.filename]})


# What few commands ask for is imported when it is asked for: people wait for the first answer.


def _facts(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> dict[str, Any]:
    from hubfleet.agent.facts import facts

    return facts()


def _observe(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> dict[str, Any]:
    return observe([from_json(resource) for resource in request["resources"]])


def _apply(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> bool:
    change = request["change"]
    resource, detail = from_json(change["resource"]), tuple(change["detail"])
    return apply(Change(resource, change["action"], detail, change["impact"], change["seen"]), progress)


def _hold(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> dict[str, Any]:
    from hubfleet.agent.lock import hold

    return asdict(held.enter_context(hold(Path(request["directory"]))))


def _release(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> None:
    held.close()


def _store(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> Any:
    if request["method"] not in STORE:
        raise HubfleetError(f"no method of a store: {request['method']}")
    return getattr(Store(), request["method"])(*request["arguments"])


def _request(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> Any:
    path, method, target = Path(request["path"]), request["method"], request["target"]
    return unixhttp.request(path, method, target, request["body"], request["token"], request["timeout"])


def _connect(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> None:
    from hubfleet.agent.outside import connect

    connect(request["address"], request["port"])


def _probe(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> dict[str, Any]:
    from hubfleet.agent.outside import probe

    return probe(request["names"], request["targets"])


def _sources(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> dict[str, list[str]]:
    from hubfleet.agent.sources import sources

    return sources()


def _listen(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> None:
    from hubfleet.agent.ways import listen

    listen(request["mark"])


def _call(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> list[list[str]]:
    from hubfleet.agent.ways import call

    return call(request["mark"], request["sender"], request["targets"])


def _heard(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> list[list[str]]:
    from hubfleet.agent.ways import heard

    return heard(request["expected"])


def _encrypts(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> bool | None:
    from hubfleet.agent.encryption import encrypts

    return encrypts()


def _homes_trial(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> Any:
    from hubfleet.agent import homestrial

    if request["step"] == "make":
        held.callback(homestrial.leave)  # whoever asked may be cut off before the end
    return homestrial.STEPS[request["step"]](**request["given"])


def _manifests(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> dict[str, list[str]]:
    from hubfleet.agent.registry import manifests

    return manifests(request["images"], request["authorities"])


def _registry_access(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> dict[str, list[str]]:
    from hubfleet.agent.registry import access

    return access(request["images"], request["authorities"], give=request["give"])


def _certificate(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> str:
    from hubfleet.agent.outside import certificate

    return certificate(request["address"], request["port"], request["name"])


def _read_log(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> dict[str, Any]:
    from hubfleet.agent.logs import read_log

    return asdict(read_log(request["container"], request["lines"], request["after"]))


def _secret(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> str:
    from hubfleet.agent.secrets import secret

    return secret(request["what"])


def _load(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> dict[str, Any]:
    from hubfleet.agent.load import load

    return load(request["parts"])


def _footprints(request: dict[str, Any], progress: Callable[[str], None], held: ExitStack) -> dict[str, Any]:
    from hubfleet.agent.load import footprints

    return footprints(request["parts"], request["labels"], request["label"])


STORE = (
    *("read", "write", "names", "make_directory", "make_folder", "remove", "point", "pointed", "answers"),
    *("database", "keep_database", "measure", "room", "erase"),
)
"""The methods of `Store` that can be asked for."""

_VERBS: dict[str, Callable[[dict[str, Any], Callable[[str], None], ExitStack], Any]] = {
    "facts": _facts,
    "observe": _observe,
    "apply": _apply,
    "hold": _hold,
    "release": _release,
    "store": _store,
    "request": _request,
    "connect": _connect,
    "probe": _probe,
    "sources": _sources,
    "listen": _listen,
    "call": _call,
    "heard": _heard,
    "encrypts": _encrypts,
    "homes_trial": _homes_trial,
    "manifests": _manifests,
    "registry_access": _registry_access,
    "certificate": _certificate,
    "read_log": _read_log,
    "secret": _secret,
    "load": _load,
    "footprints": _footprints,
}
