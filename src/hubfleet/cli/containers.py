"""Containers that an engine keeps running, of a hub or of another project: how they are, what they say, their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from hubfleet.cli.parts import UNREACHABLE, Part
from hubfleet.errors import UnreachableError
from hubfleet.machines import Machine
from hubfleet.resources.dockerengine import SOCKET
from hubfleet.unixhttp import Refused

STOP_LIMIT_S = 60.0
ASK_LIMIT_S = 30.0
FOLLOW_EVERY_S, FOLLOW_LINES = 0.5, 100_000


class Containers:
    """The containers of a deployment.

    containers: the name of each part's container, in the order of their start. elsewhere: by part, its machine where
    that is not ``machine``.
    """

    keeper = "the engine"

    def __init__(self, machine: Machine, containers: Mapping[str, str], elsewhere: Mapping[str, Machine]) -> None:
        self._machine, self._containers, self._elsewhere = machine, containers, elsewhere
        self._away: dict[str, UnreachableError] = {}
        self.names = tuple(containers)

    def machine_of(self, part: str) -> Machine:
        """Where a part is."""
        return self._elsewhere.get(part, self._machine)

    def _ask(
        self, method: str, target: str, limit: float = ASK_LIMIT_S, machine: Machine | None = None, **query: str
    ) -> Any:
        path = f"{target}?{urlencode(query)}" if query else target
        return (machine or self._machine).request(SOCKET, method, path, None, None, limit)

    def _found(self, container: str, machine: Machine | None = None) -> dict[str, Any] | None:
        try:
            return dict(self._ask("GET", f"/containers/{container}/json", machine=machine))
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise
        except FileNotFoundError:
            return None  # no engine, no container

    def statuses(self) -> Mapping[str, Part] | None:
        here = {name: container for name, container in self._containers.items() if name not in self._elsewhere}
        found = {name: _part(entry) for name, container in here.items() if (entry := self._found(container))}
        for name, machine in self._elsewhere.items():
            try:
                if machine.name in self._away:
                    raise self._away[machine.name]  # each try may take ten seconds, and one command asks often
                if entry := self._found(self._containers[name], machine):
                    found[name] = _part(entry)
            except UnreachableError as error:
                self._away[machine.name] = error
                if found:
                    found[name] = Part(
                        UNREACHABLE, time.time(), 0, why=f"{machine.name} cannot be reached: {error.what}"
                    )
        return {name: found[name] for name in self._containers if name in found} or None

    def stop(self) -> int:
        """End them, in the order of their start turned round; returns how many there were."""
        count = 0
        for part, container in reversed(list(self._containers.items())):
            machine = self._elsewhere.get(part)
            if self._found(container, machine):
                self._end(container, machine)
                count += 1
        return count

    def _end(self, container: str, machine: Machine | None = None) -> None:
        self._ask("POST", f"/containers/{container}/stop", STOP_LIMIT_S, machine)
        self._ask("DELETE", f"/containers/{container}", STOP_LIMIT_S, machine, force="1")

    def log(self, what: str, lines: int, follow: bool) -> Iterator[str] | None:
        """The last lines of a part's log; to follow, what comes then. None: no such part, or it has no container."""
        if what not in self._containers:
            return None
        name, machine = self._containers[what], self._elsewhere.get(what)
        return self._lines(lambda: name, [], lines, follow, machine) if self._found(name, machine) else None

    def _lines(
        self,
        container: Callable[[], str],
        told: list[str],
        lines: int,
        follow: bool,
        machine: Machine | None = None,
    ) -> Iterator[str]:
        """``container``: the one to read from now, which may be another one after a while, or none."""
        yield from told
        now, at = container(), ""
        while True:
            said = (machine or self._machine).read_log(now, lines, at) if now else None
            lines = FOLLOW_LINES  # how many to begin with is no limit for what comes then
            if said is not None:
                yield from said.lines
                at = said.at
            if not follow:
                return
            time.sleep(FOLLOW_EVERY_S)
            if said is None or not said.lines:
                # Silent, or gone: another one may have come, which begins anew. A part keeps its container's name, and
                # the engine's moments go on.
                after = container()
                now, at = after, at if after == now else ""


def _part(found: Mapping[str, Any]) -> Part:
    state = found["State"]
    health = state.get("Health", {}).get("Status")
    word = (
        "silent" if health == "unhealthy" else "running" if state["Running"] and not state["Restarting"] else "waiting"
    )
    since = datetime.fromisoformat(f"{state['StartedAt'][:19]}+00:00").timestamp()
    return Part(word, since, found["RestartCount"], state["Pid"] or None)
