"""A hub's parts as containers on its machine, kept running by the engine there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hubfleet.cli.containers import Containers
from hubfleet.cli.parts import launcher_words
from hubfleet.errors import UnreachableError
from hubfleet.layout import Layout
from hubfleet.machines import Machine
from hubfleet.resources.trial import HUB_LABEL, SERVER_LABEL
from hubfleet.resources.trial import LABEL as TRIAL_LABEL


class ContainedParts(Containers):
    """Implements ``parts.Parts``.

    containers: the name of each part's container, in the order of their start. elsewhere: by part, its machine where
    that is not the hub's. doors: containers that may be on any of the machines, from before these were changed.
    """

    def __init__(
        self,
        machine: Machine,
        layout: Layout,
        containers: Mapping[str, str],
        elsewhere: Mapping[str, Machine],
        doors: Sequence[str],
    ) -> None:
        super().__init__(machine, containers, elsewhere)
        self._layout, self._doors = layout, doors
        self.logs = ("hub", *(name for name in containers if name != "hub"))

    def servers(self) -> list[dict[str, Any]]:
        running = self.running_servers()
        return [record for record in self.records() if record["id"] in running]

    def running_servers(self) -> set[str]:
        """Ids of users' servers that run."""
        return {labels[SERVER_LABEL] for labels in self._users_containers().values()}

    def records(self) -> list[dict[str, Any]]:
        """What the launcher has noted of servers, whether or not they run."""
        folder, store = self._layout.launcher_dir / "servers", self._machine.store
        names = [name for name in store.names(str(folder)) if name.endswith(".json")]
        found = [json.loads(store.read(str(folder / name)) or "{}") for name in names]
        return [record for record in found if "id" in record]

    def _users_containers(self, *, stopped: bool = False) -> dict[str, dict[str, str]]:
        """Id of each container of a user's server, with its labels."""
        return self._labelled(f"{HUB_LABEL}={self._layout.hub}", SERVER_LABEL, stopped=stopped)

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

    def starts_take_room_at(self) -> str:
        """Where the engine of the hub's machine has images and containers."""
        return str(self._ask("GET", "/info")["DockerRootDir"])

    def log(self, what: str, lines: int, follow: bool) -> Iterator[str] | None:
        return super().log(what, lines, follow) if what in self._containers else self.server_log(what, lines, follow)

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
        return next((key for key, labels in found if labels[SERVER_LABEL] == what), "")
