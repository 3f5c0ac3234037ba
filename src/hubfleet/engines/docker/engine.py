"""Engine ``docker``: checks, desired state and launch in one object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hubfleet.config import Config
from hubfleet.engines import logins, services
from hubfleet.engines.accounts import accounts_of
from hubfleet.engines.base import Site
from hubfleet.engines.docker import front, parts, skeleton
from hubfleet.engines.docker.desired import desired_state, edge_state
from hubfleet.engines.docker.specification import Settings
from hubfleet.launcher.base import Launch
from hubfleet.layout import ROOT_BASE, Layout
from hubfleet.resources import Opening, Resource

_PASSWORD_IN_ADDRESS = re.compile(r"://[^/\s]*@")


class DockerEngine:
    """Implements ``engines.base.Engine``."""

    name = "docker"
    door = "edge"

    def layout(self, config: Config) -> Layout:
        """On another machine always the usual place; here, what the environment says."""
        return Layout(config.hub, ROOT_BASE, True) if config.machines else Layout.here(config.hub)

    def containers(self, config: Config) -> Mapping[str, str]:
        there = {*parts.here(config), *parts.elsewhere(config)}
        return {part: parts.container(config.hub, part) for part in parts.PARTS if part in there}

    def elsewhere(self, config: Config) -> Mapping[str, str]:
        return parts.elsewhere(config)

    def doors(self, hub: str) -> tuple[str, ...]:
        return tuple(parts.container(hub, part) for part in parts.DOORS)

    def entrance(self, config: Config) -> tuple[str, int]:
        address, port, _ = parts.published(config)[0]
        return address, port

    def ports(self, config: Config) -> Mapping[str, tuple[int, ...]]:
        gate = {"gate": (parts.gate_port(config),)} if config.edge_apart else {}
        return {**gate, "edge": tuple(port for _, port, _ in parts.published(config))}

    def link_port(self, config: Config) -> int:
        return parts.gate_port(config) if config.edge_apart else 0

    def url(self, config: Config) -> str:
        name = config.domain or parts.names(config)[0]
        if config.https_kind != "off":
            return f"https://{name}"
        listen = config.listen
        host = name if listen.address in ("0.0.0.0", "::") else listen.address
        return f"http://{f'[{host}]' if ':' in host else host}:{listen.port}"

    def spans(self, config: Config) -> bool:
        """All are on the hub's."""
        return False

    def openings(self, config: Config, site: Site) -> Mapping[str, Opening]:
        """None: what containers publish, the engine lets in."""
        return {}

    def limits_problem(self, hub: str) -> str | None:
        """Containers have limits everywhere."""
        return None

    def problems(self, config: Config, site: Site) -> list[str]:
        """What is not possible in containers, or would leave a secret in an image."""
        found = []
        if not site.layout.privileged:
            found.append("engine docker changes the machine. Try: the same command with sudo")
        found += skeleton.problems(config)
        found += services.problems(config, site, contained=True) if site.layout.privileged else []
        found += logins.problems(config, site, contained=True)
        for name in config.https_secrets:
            if not site.service_secrets.get(name):
                found.append(
                    f"{config.line('https')}https needs the secret {name}. "
                    f"Try: write `{name}: ...` into the file of secrets, hubfleet.secrets.yaml"
                )
        if _PASSWORD_IN_ADDRESS.search(site.requirements):
            path = "servers.requirements"
            found.append(
                f"{config.line(path)}{path} has an address with a password, which everybody could read in the image. "
                "Try: take it out"
            )
        return found

    def link_files(self, config: Config, site: Site) -> dict[str, tuple[Resource, ...]]:
        return front.link_files(config, site, accounts_of(config.hub, True))

    def desired(self, config: Config, site: Site) -> tuple[Resource, ...]:
        return desired_state(config, site)

    def desired_elsewhere(self, config: Config, site: Site) -> dict[str, tuple[Resource, ...]]:
        return {config.edge_machine: edge_state(config, site)} if config.edge_apart and config.edge_machine else {}

    def launch(self, settings: Mapping[str, Any]) -> Launch:
        # Only here, in the launcher's container: what it asks Docker with is not installed where commands are typed.
        from hubfleet.engines.docker.launch import DockerLaunch

        return DockerLaunch(Settings.from_json(settings))
