"""Measures the machines of a hub whose parts and servers are containers, wherever they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hubfleet.cli.deployment import Deployment
from hubfleet.cli.talk import running
from hubfleet.errors import HubfleetError
from hubfleet.loadtest.watch import Footprint, Part, Reading, Size
from hubfleet.machines import Machine
from hubfleet.names import server_id
from hubfleet.resources.trial import HUB_LABEL, SERVER_LABEL


class FleetMeter:
    """Implements `loadtest.watch.Meter`, by the agent on each machine."""

    def __init__(self, deployment: Deployment) -> None:
        config, here = deployment.config, deployment.machine
        named = deployment.machines
        several = config.worker_machines if deployment.engine.spans(config) else ()
        self._workers = [named[name] for name in several] or [here]
        self._hub, self._labels = here, {HUB_LABEL: config.hub}
        statuses = running(deployment)
        ours = [name for name in statuses if deployment.machine_of(name).name == here.name]
        self._pids = {name: pid for name in ours if (pid := statuses[name].pid)}
        self._client_here = not deployment.remote

    @property
    def _asked(self) -> list[Machine]:
        """The hub's, which need not have servers, and those that have."""
        return [self._hub, *(machine for machine in self._workers if machine.name != self._hub.name)]

    def size(self) -> Size:
        """Of the machines with servers, all together."""
        found = self._loads()
        loads = [found[machine.name] for machine in self._workers]
        return Size(
            sum(load["cores"] for load in loads),
            sum(load["memory"] for load in loads),
            sum(load["available"] for load in loads),
            len(loads),
            self._hub.name in {machine.name for machine in self._workers},
            self._client_here,
        )

    def read(self) -> Reading:
        """Of the same machines, and of the hub's parts."""
        found = self._loads()
        loads = [found[machine.name] for machine in self._workers]
        return Reading(
            sum(load["busy_s"] for load in loads),
            sum(load["memory"] - load["available"] for load in loads),
            dict(found[self._hub.name]["cpu_s"]),
        )

    def parts(self) -> dict[str, Part]:
        """Those on the hub's machine."""
        found = self._footprints([self._hub], self._pids)[0]["parts"]
        nothing = {"pss": 0, "first_thread_s": None}
        return {name: Part(**found.get(name, nothing)) for name in self._pids}

    def people(self, names: set[str]) -> tuple[dict[str, Footprint], str | None]:
        """Everybody's containers, on whichever machine they are."""
        ids = {server_id(name, ""): name for name in names}
        found: dict[str, Footprint] = {}
        for answer in self._footprints(self._workers, {}):
            servers: Mapping[str, Mapping[str, float]] = answer["servers"]
            for server, taken in servers.items():
                if server in ids:
                    found[ids[server]] = Footprint(int(taken["pss"]), float(taken["cpu_s"]), int(taken["processes"]))
        if len(found) < len(names):
            return found, f"memory of {len(names) - len(found)} people's servers: they run on no machine that was asked"
        return found, None

    def _loads(self) -> dict[str, dict[str, Any]]:
        """By machine."""
        machines = self._asked
        found = _each(machines, lambda one: one.load(self._pids if one.name == self._hub.name else {}))
        return dict(zip((machine.name for machine in machines), found, strict=True))

    def _footprints(self, machines: Sequence[Machine], parts: Mapping[str, int]) -> list[dict[str, Any]]:
        return _each(machines, lambda one: one.footprints(parts, self._labels, SERVER_LABEL))


def _each(machines: Sequence[Machine], question: Callable[[Machine], dict[str, Any]]) -> list[dict[str, Any]]:
    """What each answers, all asked at once. Raises OSError where one cannot be asked."""

    def ask(machine: Machine) -> dict[str, Any]:
        try:
            return question(machine)
        except HubfleetError as error:
            raise OSError(f"{machine.name}: {error.what}") from error

    with ThreadPoolExecutor(len(machines)) as beside:
        return list(beside.map(ask, machines))
