"""Engine ``local``: checks, desired state and launch in one object."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from hubfleet.config import Config
from hubfleet.config.machines import SiteNetwork
from hubfleet.config.servers import ServerOptions
from hubfleet.engines import disks, logins, services
from hubfleet.engines.base import Site
from hubfleet.engines.local.cgroups import Cgroups
from hubfleet.engines.local.desired import desired_state
from hubfleet.engines.local.launch import LocalLaunch
from hubfleet.engines.local.specification import Settings
from hubfleet.launcher.base import Launch
from hubfleet.layout import Layout
from hubfleet.resources import Opening, Resource


def _set_limits(options: ServerOptions) -> list[str]:
    limits = ("memory.limit", "memory.guarantee", "cpu.limit", "cpu.guarantee", "processes")
    return [limit for limit in limits if attrgetter(limit)(options) is not None]


def _others(config: Config) -> list[str]:
    """The settings that are there and mean nothing here."""
    given = {
        "machines": config.machines,
        "hub_image": config.hub_image,
        **{f"{at}.image": options.image for at, options in config.all_options().items()},
        "network": config.network != SiteNetwork(),
    }
    return [path for path, value in given.items() if value]


def _of_the_edge(config: Config) -> list[str]:
    """Settings of the web server in front, which this engine does not have."""
    front = "put a web server with a certificate in front of the hub"
    found = []
    for path, given in (("domain", config.domain), ("https", config.https if config.https_kind != "off" else None)):
        if given:
            found.append(
                f"{config.line(path)}{path}: engine local has no HTTPS of its own. Try: remove {path}; {front}"
            )
    if config.listen.trusted_proxies:
        path = "listen.trusted_proxies"
        found.append(f"{config.line(path)}{path}: engine local believes what it is sent. Try: remove {path}")
    return found


class LocalEngine:
    """Implements ``engines.base.Engine``."""

    name = "local"
    door = "proxy"

    def layout(self, config: Config) -> Layout:
        return Layout.here(config.hub)

    def containers(self, config: Config) -> Mapping[str, str]:
        return {}

    def elsewhere(self, config: Config) -> Mapping[str, str]:
        return {}

    def doors(self, hub: str) -> tuple[str, ...]:
        return ()

    def entrance(self, config: Config) -> tuple[str, int]:
        return config.listen.address, config.listen.port

    def url(self, config: Config) -> str:
        address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.listen.address, config.listen.address)
        return f"http://{address}:{config.listen.port}"

    def ports(self, config: Config) -> Mapping[str, tuple[int, ...]]:
        return {"proxy": (config.listen.port,)}

    def link_port(self, config: Config) -> int:
        return 0

    def spans(self, config: Config) -> bool:
        """All are on the hub's."""
        return False

    def openings(self, config: Config, site: Site) -> Mapping[str, Opening]:
        """There is one machine, and what it lets in is its own affair."""
        return {}

    def limits_problem(self, hub: str) -> str | None:
        return Cgroups(hub).problem

    def link_files(self, config: Config, site: Site) -> dict[str, tuple[Resource, ...]]:
        return {}

    def problems(self, config: Config, site: Site) -> list[str]:
        """A limit that cannot be enforced is refused, never ignored; and so is what only containers have."""
        found = [f"{config.line(path)}{path} is of engine docker only. Try: engine: docker" for path in _others(config)]
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
        if config.storage.owner.uid is not None:
            found.append(
                f"{config.line('storage.owner.uid')}storage.owner.uid: with one id for everybody, people "
                "could end and read each other's servers. Try: engine: docker, or remove storage.owner.uid"
            )
        found += disks.problems(config, site.layout)
        return found + services.problems(config, site) + logins.problems(config, site) + _of_the_edge(config)

    def desired(self, config: Config, site: Site) -> tuple[Resource, ...]:
        return desired_state(config, site)

    def desired_elsewhere(self, config: Config, site: Site) -> dict[str, tuple[Resource, ...]]:
        return {}

    def launch(self, settings: Mapping[str, Any]) -> Launch:
        return LocalLaunch(Settings.from_json(settings))
