"""Engine ``swarm``: checks, desired state and launch in one object. What it has of the hub is engine docker's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hubfleet.config import Config
from hubfleet.engines.base import Site
from hubfleet.engines.docker import homes
from hubfleet.engines.docker.engine import DockerEngine
from hubfleet.engines.swarm import guarding, ports, registry, sharing
from hubfleet.engines.swarm.desired import hub_state, machine_state, shared
from hubfleet.launcher.base import Launch
from hubfleet.resources import Opening, Resource


class SwarmEngine(DockerEngine):
    """Implements ``engines.base.Engine``."""

    name = "swarm"

    def containers(self, config: Config) -> Mapping[str, str]:
        own = {"registry": registry.container(config.hub)} if registry.own(config) else {}
        guards = {guarding.part(config, name): guarding.container(config.hub) for name in config.worker_machines}
        return {**own, **guards, **super().containers(config)}

    def elsewhere(self, config: Config) -> Mapping[str, str]:
        others = [name for name in config.worker_machines if name != config.hub_machine]
        return {**super().elsewhere(config), **{guarding.part(config, name): name for name in others}}

    def link_files(self, config: Config, site: Site) -> dict[str, tuple[Resource, ...]]:
        found = super().link_files(config, site)
        if config.homes_apart:
            hub, there = str(config.hub_machine), str(config.storage_machine)
            own = [file for file in homes.files(config, site, None).values() if file.secret]
            found[hub] = (*found.get(hub, ()), *homes.launcher_files(config, site).values())
            found[there] = (*found.get(there, ()), *own)
        return found

    def ports(self, config: Config) -> Mapping[str, tuple[int, ...]]:
        own = {"registry": (config.network.fleet.registry_port,)} if registry.own(config) else {}
        return {**own, **super().ports(config)}

    def spans(self, config: Config) -> bool:
        """Even with one machine: another may come."""
        return True

    def openings(self, config: Config, site: Site) -> Mapping[str, Opening]:
        return ports.openings(config, site)

    def problems(self, config: Config, site: Site) -> list[str]:
        """What is not possible in containers, or not on several machines."""
        found = super().problems(config, site)
        found += sharing.problems(config, site)
        return found

    def desired(self, config: Config, site: Site) -> tuple[Resource, ...]:
        return hub_state(config, site)

    def desired_elsewhere(self, config: Config, site: Site) -> dict[str, tuple[Resource, ...]]:
        others = [name for name in config.machines if name != config.hub_machine]
        if not others:
            return {}
        common = shared(config, site)
        return {name: machine_state(config, site, name, common) for name in others}

    def launch(self, settings: Mapping[str, Any]) -> Launch:
        # Only here, in the launcher's container: what it asks Docker with is not installed where commands are typed.
        from hubfleet.engines.swarm.launch import SwarmLaunch
        from hubfleet.engines.swarm.specification import Settings

        return SwarmLaunch(Settings.from_json(settings))
