"""A hub's parts as containers on its machine, and users' servers as services of the swarm that it manages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from hubfleet.cli.contained import ContainedParts
from hubfleet.cli.containers import FOLLOW_EVERY_S, FOLLOW_LINES, STOP_LIMIT_S
from hubfleet.cli.parts import launcher_words
from hubfleet.errors import UnreachableError
from hubfleet.resources.opening import Opening
from hubfleet.resources.trial import HUB_LABEL, SERVER_LABEL
from hubfleet.unixhttp import Refused

LOOK_EVERY_S = 0.2
_AWAY = ("down", "disconnected")
_OVER = ("complete", "failed", "rejected", "shutdown", "orphaned", "remove")
"""States of tasks that do not run any more."""
_NO_MANAGER = (406, 503)
"""What an engine answers that is in no swarm, or does not manage it."""


class FleetParts(ContainedParts):
    """Implements ``parts.Parts``."""

    def stop(self) -> int:
        """The guards of other machines at last: as long as there are servers, these are kept apart. Then what firewalls
        leave open for this hub is closed.

        A machine that is away does not keep the rest from being stopped.
        """
        away: UnreachableError | None = None
        running = 0
        try:
            running = super().stop()
        except UnreachableError as error:
            if error.where == self._machine.name:
                raise
            away = error  # it is told at the end, when the others are as they should be
        self._await_ended()
        for name, machine in self._elsewhere.items():
            with suppress(UnreachableError):  # it is told below, and a guard alone does nobody any harm
                if self._containers[name] not in self._doors and self._found(self._containers[name], machine):
                    self._end(self._containers[name], machine)
        for machine in {one.name: one for one in (self._machine, *self._elsewhere.values())}.values():
            with suppress(UnreachableError):
                opening = Opening(self._layout.hub)
                change = opening.removal(machine.observe([opening])[opening.id])
                if change is not None:
                    machine.apply(change, lambda text: None)
        if away is not None:
            raise away
        return running

    def _await_ended(self) -> None:
        """Until the machines have ended their servers, which the manager has to tell them. One that is away tells
        nothing, and ends them when it hears of it."""
        wanted = json.dumps({"label": [f"{HUB_LABEL}={self._layout.hub}"]})
        deadline = time.monotonic() + STOP_LIMIT_S
        while time.monotonic() < deadline:
            down = {node["ID"] for node in self._swarm("/nodes") if node["Status"]["State"] in _AWAY}
            tasks = self._swarm("/tasks", filters=wanted)
            if all(one["Status"]["State"] in _OVER or one.get("NodeID", "") in {"", *down} for one in tasks):
                return
            time.sleep(LOOK_EVERY_S)

    def running_servers(self) -> set[str]:
        return {labels[SERVER_LABEL] for labels in self._services().values()}

    def end_servers(self) -> int:
        """Each machine ends its own, once the manager knows that they are not wanted."""
        services = self._services()
        for service in services:
            self._ask("DELETE", f"/services/{service}", STOP_LIMIT_S)
        return len(services) + super().end_servers()  # those of a trial

    def _services(self) -> dict[str, dict[str, str]]:
        """Id of the service of each user's server, with its labels."""
        wanted = json.dumps({"label": [f"{HUB_LABEL}={self._layout.hub}"]})
        found = self._swarm("/services", filters=wanted)
        return {one["ID"]: one["Spec"]["Labels"] for one in found if SERVER_LABEL in one["Spec"]["Labels"]}

    def machine_states(self) -> dict[str, str]:
        """What the manager says of each machine it knows: "ready", "down" and others, by the name in the file."""
        return {name: node["Status"]["State"] for name, node in self._nodes().items()}

    def servers_by_machine(self) -> dict[str, list[Mapping[str, str]]]:
        """User and name of each server that runs or is being started, by the name of its machine in the file."""
        names = {node["ID"]: name for name, node in self._nodes().items()}
        services = self._services()
        known = {one["id"]: {"user": one["user"], "server": one["server"]} for one in self.records()}
        wanted = json.dumps({"label": [f"{HUB_LABEL}={self._layout.hub}"], "desired-state": ["running"]})
        found: dict[str, list[Mapping[str, str]]] = {}
        for task in self._swarm("/tasks", filters=wanted):
            labels, name = services.get(task["ServiceID"]), names.get(task.get("NodeID", ""))
            if labels and name and task["Status"]["State"] not in _OVER:
                server = labels[SERVER_LABEL]
                found.setdefault(name, []).append(known.get(server, {"user": server, "server": ""}))
        return {name: sorted(servers, key=lambda one: (one["user"], one["server"])) for name, servers in found.items()}

    def _nodes(self) -> dict[str, Any]:
        """What the manager knows of each machine, by the name in the file."""
        label = f"hubfleet.{self._layout.hub}.machine"
        named = [(one["Spec"].get("Labels", {}).get(label), one) for one in self._swarm("/nodes")]
        return {name: one for name, one in named if name}

    def _swarm(self, target: str, filters: str = "{}") -> list[dict[str, Any]]:
        """A list that the manager has; an empty one where there is no manager yet."""
        try:
            return list(self._ask("GET", target, filters=filters))
        except FileNotFoundError:
            return []
        except Refused as refusal:
            if refusal.status in _NO_MANAGER:
                return []
            raise

    def server_log(self, what: str, lines: int, follow: bool) -> Iterator[str] | None:
        """The launcher writes it down, from whichever machine it comes."""
        told = launcher_words(self._machine.read_log(self._containers["launcher"], 5000, "").lines, what)
        kept = self._machine.store.read(self._kept_log(what))
        return self._followed(what, told, lines, follow) if told or kept else None

    def _followed(self, what: str, told: list[str], lines: int, follow: bool) -> Iterator[str]:
        yield from told
        shown: list[str] = []
        while True:
            kept = (self._machine.store.read(self._kept_log(what)) or "").splitlines()
            # One that begins as before has grown; another one was begun anew.
            new = kept[len(shown) :] if kept[: len(shown)] == shown else kept
            yield from new[-lines:]
            shown, lines = kept, FOLLOW_LINES
            if not follow:
                return
            time.sleep(FOLLOW_EVERY_S)
