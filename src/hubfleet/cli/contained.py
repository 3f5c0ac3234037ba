"""A hub's parts as containers on its machine, kept running by the engine there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from hubfleet.cli.parts import UNREACHABLE, Part, launcher_words
from hubfleet.errors import UnreachableError
from hubfleet.layout import Layout
from hubfleet.machines import Machine
from hubfleet.resources.dockerengine import SOCKET
from hubfleet.resources.trial import HUB_LABEL
from hubfleet.resources.trial import LABEL as TRIAL_LABEL
from hubfleet.unixhttp import Refused

STOP_LIMIT_S = 60.0
ASK_LIMIT_S = 30.0
FOLLOW_EVERY_S, FOLLOW_LINES = 0.5, 100_000


class ContainedParts:
    """Implements ``parts.Parts``.

    containers: the name of each part's container, in the order of their start. elsewhere: by part, its machine where
    that is not the hub's. doors: containers that may be on any of the machines, from before these were changed.
    """

    keeper = "the engine"

    def __init__(
        self,
        machine: Machine,
        layout: Layout,
        containers: Mapping[str, str],
        elsewhere: Mapping[str, Machine],
        doors: Sequence[str],
    ) -> None:
        self._machine, self._layout, self._containers = machine, layout, containers
        self._elsewhere, self._doors = elsewhere, doors
        self._away: dict[str, UnreachableError] = {}
        self.names = tuple(containers)
        self.logs = ("hub", *(name for name in containers if name != "hub"))

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

    def servers(self) -> list[dict[str, Any]]:
        running = self.running_servers()
        return [record for record in self.records() if record["id"] in running]

    def running_servers(self) -> set[str]:
        """Ids of users' servers that run."""
        return {labels["hubfleet.server"] for labels in self._users_containers().values()}

    def records(self) -> list[dict[str, Any]]:
        """What the launcher has noted of servers, whether or not they run."""
        folder, store = self._layout.launcher_dir / "servers", self._machine.store
        names = [name for name in store.names(str(folder)) if name.endswith(".json")]
        found = [json.loads(store.read(str(folder / name)) or "{}") for name in names]
        return [record for record in found if "id" in record]

    def _users_containers(self, *, stopped: bool = False) -> dict[str, dict[str, str]]:
        """Id of each container of a user's server, with its labels."""
        return self._labelled(f"{HUB_LABEL}={self._layout.hub}", "hubfleet.server", stopped=stopped)

    def _labelled(self, *labels: str, stopped: bool) -> dict[str, dict[str, str]]:
        wanted = {"label": labels}
        try:
            found = self._ask("GET", "/containers/json", filters=json.dumps(wanted), all="1" if stopped else "0")
        except FileNotFoundError:
            return {}
        return {entry["Id"]: entry["Labels"] for entry in found}

    def stop(self) -> int:
        """In the order of their start turned round, so that nobody is led to what has ended; and what a killed trial
        left, its parts before what they could start."""
        away: list[UnreachableError] = []
        for machine in {machine.name: machine for machine in self._elsewhere.values()}.values():
            try:
                for container in self._doors:
                    if self._found(container, machine):
                        self._end(container, machine)
            except UnreachableError as error:
                away.append(error)
        for container in dict.fromkeys([*self._doors, *reversed(list(self._containers.values()))]):
            if self._found(container):
                self._end(container)
        running = self.end_servers()
        for label in (f"{TRIAL_LABEL}={self._layout.hub}", f"{HUB_LABEL}={self._layout.trial.hub}"):
            for container in self._labelled(label, stopped=True):
                self._end(container)
        if away:
            what, state = away[0].what, "The hub and users' servers are stopped, what runs there may not be"
            raise UnreachableError(what, where=away[0].where, state=state, remedy="hubfleet down, once it is back")
        return running

    def end_servers(self) -> int:
        """End users' servers; returns how many ran."""
        running = len(self._users_containers())
        for container in self._users_containers(stopped=True):
            self._end(container)
        return running

    def _end(self, container: str, machine: Machine | None = None) -> None:
        self._ask("POST", f"/containers/{container}/stop", STOP_LIMIT_S, machine)
        self._ask("DELETE", f"/containers/{container}", STOP_LIMIT_S, machine, force="1")

    def log(self, what: str, lines: int, follow: bool) -> Iterator[str] | None:
        if what in self._containers:
            name = self._containers[what]
            machine = self._elsewhere.get(what)
            return self._lines(lambda: name, [], lines, follow, machine) if self._found(name, machine) else None
        return self.server_log(what, lines, follow)

    def server_log(self, what: str, lines: int, follow: bool) -> Iterator[str] | None:
        """The log of a user's server, by the server's id."""
        told = launcher_words(self._machine.read_log(self._containers["launcher"], 5000, "").lines, what)
        running = self._server(what)
        if not running:
            kept = self._machine.store.read(self._kept_log(what))
            told += kept.splitlines()[-lines:] if kept else []
        return self._lines(lambda: self._server(what), told, lines, follow) if running or told else None

    def _kept_log(self, what: str) -> str:
        return str(self._layout.logs / "servers" / f"{what}.log")

    def _server(self, what: str) -> str:
        """The container of a user's server, by the server's id; "" if there is none."""
        found = self._users_containers(stopped=True).items()
        return next((key for key, labels in found if labels["hubfleet.server"] == what), "")

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
