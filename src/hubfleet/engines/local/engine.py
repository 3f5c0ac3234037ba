"""Engine ``local``: checks, desired state and launch in one object."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from hubfleet.config import Config
from hubfleet.config.servers import ServerOptions
from hubfleet.engines.base import Site
from hubfleet.engines.local.cgroups import Cgroups
from hubfleet.engines.local.desired import desired_state
from hubfleet.engines.local.launch import LocalLaunch
from hubfleet.engines.local.specification import Settings
from hubfleet.launcher.base import Launch
from hubfleet.resources import Resource


def _set_limits(options: ServerOptions) -> list[str]:
    limits = ("memory.limit", "memory.guarantee", "cpu.limit", "cpu.guarantee", "processes")
    return [limit for limit in limits if attrgetter(limit)(options) is not None]


class LocalEngine:
    """Implements ``engines.base.Engine``."""

    name = "local"

    def limits_problem(self, hub: str) -> str | None:
        return Cgroups(hub).problem

    def problems(self, config: Config, site: Site) -> list[str]:
        """A limit that cannot be enforced is refused, never ignored."""
        found = []
        limits = [f"{at}.{limit}" for at, options in config.all_options().items() for limit in _set_limits(options)]
        for path in limits if site.limits_problem else []:
            found.append(
                f"{config.line(path)}{path} cannot be enforced: {site.limits_problem}. "
                f"Try: run hubfleet as root (sudo), or remove {path}"
            )
        for path, mounts in config.all_mounts().items():
            if mounts and not site.layout.privileged:
                found.append(
                    f"{config.line(path)}{path}: only root can show one directory under another name. "
                    f"Try: run hubfleet as root (sudo), or remove {path}"
                )
        return found

    def desired(self, config: Config, site: Site) -> tuple[Resource, ...]:
        return desired_state(config, site)

    def launch(self, settings: Mapping[str, Any]) -> Launch:
        return LocalLaunch(Settings.from_json(settings))
