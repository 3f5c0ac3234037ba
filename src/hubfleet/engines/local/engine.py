"""Engine ``local``: checks, desired state and launch in one object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hubfleet.config import Config
from hubfleet.config.servers import ServerOptions
from hubfleet.engines.base import Site
from hubfleet.engines.local.cgroups import Cgroups
from hubfleet.engines.local.desired import desired_state
from hubfleet.engines.local.launch import LocalLaunch, Settings
from hubfleet.launcher.base import Launch
from hubfleet.resources import Resource


class LocalEngine:
    """Implements ``engines.base.Engine``."""

    name = "local"

    def limits_problem(self, hub: str) -> str | None:
        """See ``Engine.limits_problem``."""
        return Cgroups(hub).problem

    def problems(self, config: Config, site: Site) -> list[str]:
        """See ``Engine.problems``. A limit that cannot be enforced is refused, never ignored."""
        found = []
        layers: list[tuple[str, ServerOptions]] = [("servers", config.servers)]
        layers += [(f"servers.profiles.{key}", profile) for key, profile in config.servers.profiles.items()]
        layers += [(f"groups.{name}.servers", group.servers) for name, group in config.groups.items()]
        layers += [(f"users.{name}.servers", user.servers) for name, user in config.users.items()]
        for path, options in layers:
            for key, value in (
                ("memory.limit", options.memory.limit),
                ("memory.guarantee", options.memory.guarantee),
                ("cpu.limit", options.cpu.limit),
                ("cpu.guarantee", options.cpu.guarantee),
                ("processes", options.processes),
            ):
                if value is not None and site.limits_problem:
                    where = config.where(f"{path}.{key}")
                    found.append(
                        f"{where + ': ' if where else ''}{path}.{key} cannot be enforced: {site.limits_problem}. "
                        f"Try: run hubfleet as root (sudo), or remove {path}.{key}"
                    )
        mounts = [("storage.mounts", config.storage.mounts)]
        mounts += [
            (f"groups.{name}.storage.mounts", group.storage.mounts or ()) for name, group in config.groups.items()
        ]
        mounts += [(f"users.{name}.storage.mounts", user.storage.mounts or ()) for name, user in config.users.items()]
        for path, entries in mounts:
            if entries and not site.layout.privileged:
                where = config.where(path)
                found.append(
                    f"{where + ': ' if where else ''}{path}: only root can show one directory under another name. "
                    f"Try: run hubfleet as root (sudo), or remove {path}"
                )
        return found

    def desired(self, config: Config, site: Site) -> tuple[Resource, ...]:
        """See ``Engine.desired``."""
        return desired_state(config, site)

    def launch(self, settings: Mapping[str, Any]) -> Launch:
        """See ``Engine.launch``."""
        return LocalLaunch(Settings.from_json(settings))
