"""Project `services` as hubfleet takes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from hubfleet.config.fields import did_you_mean
from hubfleet.errors import ApplyError, ConfigError
from hubfleet.projects.base import Action, Asked, Finding, Project, SecretFrom, Site
from hubfleet.projects.services import desired as wanted
from hubfleet.projects.services.findings import findings
from hubfleet.projects.services.model import ServicesConfig
from hubfleet.resources import Resource
from hubfleet.resources.dockerengine import SOCKET
from hubfleet.unixhttp import Refused

RESTART_LIMIT_S = 60.0
HEALTHY_LIMIT_S = 60.0
LOOK_EVERY_S = 0.25


def restart(asked: Asked) -> None:
    """Restart one service. Raises ConfigError for a name that is none."""
    config: ServicesConfig = asked.config
    (name,) = asked.arguments if len(asked.arguments) == 1 else ("",)
    if name not in config.services:
        known = ", ".join(config.services)
        raise ConfigError(f"`{name}` is not a service{did_you_mean(name, config.services)}", remedy=f"one of {known}")
    machine = asked.machines[config.machine_of(name)]
    container = f"/containers/{wanted.container(config.name, name)}"
    try:
        machine.request(SOCKET, "POST", f"{container}/restart?t=10", None, None, RESTART_LIMIT_S)
        well = _well(partial(machine.request, SOCKET, "GET", f"{container}/json", None, None, RESTART_LIMIT_S))
    except (Refused, FileNotFoundError) as error:
        raise ApplyError(f"{name} could not be restarted: {error}", where=machine.name, remedy="hubfleet up") from error
    if not well:
        what = f"{name} was restarted, and its health check does not succeed within {HEALTHY_LIMIT_S:.0f} seconds"
        raise ApplyError(what, where=machine.name, remedy=f"hubfleet logs {name}")
    asked.say(f"{name} was restarted.")


def _well(look: Callable[[], Any]) -> bool:
    """Whether a container runs, and its health check, where it has one, succeeds in time."""
    deadline = time.monotonic() + HEALTHY_LIMIT_S
    while True:
        state = look()["State"]
        well = state["Running"] and state.get("Health", {}).get("Status", "healthy") == "healthy"
        if well or time.monotonic() > deadline:
            return bool(well)
        time.sleep(LOOK_EVERY_S)


class Services(Project):
    """Containers that belong together."""

    name = "services"
    model = ServicesConfig
    actions: Mapping[str, Action] = {
        "restart": Action("Restart the container of one service; what it keeps in volumes stays.", restart, "SERVICE")
    }

    def findings(self, config: ServicesConfig) -> Iterable[Finding]:
        return findings(config)

    def secrets(self, config: ServicesConfig) -> Mapping[str, SecretFrom]:
        return config.secrets

    def problems(self, config: ServicesConfig, site: Site) -> Sequence[str]:
        root = "containers are started by root. Try: the same command with sudo"
        return [] if site.layout.privileged else [root]

    def checks(self, config: ServicesConfig, machine: str, facts: Mapping[str, Any]) -> Iterable[str]:
        """Ports that something else has, and an engine that ends containers whenever it is restarted."""
        if (facts["docker"] or {}).get("swarm"):
            yield f"Docker of {machine} is part of a swarm, which services cannot be beside. Try: another machine"
        for name, service in config.services.items():
            for index, port in enumerate(service.ports) if config.machine_of(name) == machine else ():
                holder, there = facts["listening"].get(str(port.port)), facts["ports"].get(str(port.port), "")
                if holder is None or there.startswith(wanted.container(config.name, "")):
                    continue
                who = f"container {there}" if there else f"{holder['name']} (pid {holder['pid']})"
                where = config.where(f"services.{name}.ports.{index}")
                yield f"{where}: {who} holds port {port.port}. Try: end it, or another port for {name}"

    def desired(self, config: ServicesConfig, site: Site) -> Mapping[str, Sequence[Resource]]:
        return wanted.desired(config, site)
