"""Engine ``docker``: checks, desired state and launch in one object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hubfleet.config import Config
from hubfleet.engines.base import Site
from hubfleet.engines.docker import parts, skeleton
from hubfleet.engines.docker.desired import desired_state
from hubfleet.engines.docker.specification import Settings
from hubfleet.launcher.base import Launch
from hubfleet.layout import ROOT_BASE, Layout
from hubfleet.resources import Resource

_PASSWORD_IN_ADDRESS = re.compile(r"://[^/\s]*@")


class DockerEngine:
    """Implements ``engines.base.Engine``."""

    name = "docker"
    door = "edge"

    def layout(self, config: Config) -> Layout:
        """On another machine always the usual place; here, what the environment says."""
        return Layout(config.hub, ROOT_BASE, True) if config.machines else Layout.here(config.hub)

    def containers(self, hub: str) -> Mapping[str, str]:
        return {part: parts.container(hub, part) for part in parts.PARTS}

    def entrance(self, config: Config) -> tuple[str, int]:
        address, port, _ = parts.published(config)[0]
        return address, port

    def ports(self, config: Config) -> tuple[int, ...]:
        return tuple(port for _, port, _ in parts.published(config))

    def url(self, config: Config) -> str:
        name = config.domain or parts.names(config)[0]
        if config.https_kind != "off":
            return f"https://{name}"
        listen = config.listen
        host = name if listen.address in ("0.0.0.0", "::") else listen.address
        return f"http://{f'[{host}]' if ':' in host else host}:{listen.port}"

    def limits_problem(self, hub: str) -> str | None:
        """Containers have limits everywhere."""
        return None

    def problems(self, config: Config, site: Site) -> list[str]:
        """What is not possible in containers, or would leave a secret in an image."""
        found = []
        if not site.layout.privileged:
            found.append("engine docker changes the machine. Try: the same command with sudo")
        if len(config.machines) > 1:
            names = ", ".join(config.machines)
            found.append(
                f"{config.line('machines')}machines: engine docker is for one, and here are {names}. Try: keep one"
            )
        found += skeleton.problems(config)
        if _PASSWORD_IN_ADDRESS.search(site.requirements):
            path = "servers.requirements"
            found.append(
                f"{config.line(path)}{path} has an address with a password, which everybody could read in the image. "
                "Try: take it out"
            )
        return found

    def desired(self, config: Config, site: Site) -> tuple[Resource, ...]:
        return desired_state(config, site)

    def launch(self, settings: Mapping[str, Any]) -> Launch:
        # Only here, in the launcher's container: what it asks Docker with is not installed where commands are typed.
        from hubfleet.engines.docker.launch import DockerLaunch

        return DockerLaunch(Settings.from_json(settings))
