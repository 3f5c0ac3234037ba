"""Everything that engine ``swarm`` wants on its machines. Pure: configuration and site in, resources out.

The hub's own parts are what they are with engine ``docker``, containers of the hub's machine. What is added is what
machines need to be one swarm, and what users' servers need on each of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubfleet.config import Config
from hubfleet.config.fleet import addresses
from hubfleet.engines.accounts import accounts_of
from hubfleet.engines.base import Site
from hubfleet.engines.docker import desired, front, parts
from hubfleet.engines.docker.images import edge_image, guard_image, hub_image, user_image
from hubfleet.engines.swarm import registry
from hubfleet.engines.swarm.guarding import guard
from hubfleet.engines.swarm.places import (
    DOOR_PORT,
    HUB_PORT,
    PROBE_PORT,
    SERVER_PORT,
    WAY_OUT,
    fleet_network,
)
from hubfleet.resources import (
    Directory,
    DockerEngine,
    File,
    Firewall,
    Image,
    Network,
    Resource,
    SharedDirectory,
    SwarmManager,
    SwarmMember,
    SwarmNode,
)

MARKER = ".hubfleet-fleet"
"""A file among the homes, written on the hub's machine."""
WORKER = "worker"
"""The label of machines that have users' servers."""


@dataclass(frozen=True)
class Shared:
    """The images that machines with users' servers have of the hub's machine. To make one takes its time."""

    users: Image
    guard: Image


def shared(config: Config, site: Site) -> Shared:
    """Both of them."""
    return Shared(user_image(config, site), guard_image(config, site))


def hub_state(config: Config, site: Site) -> tuple[Resource, ...]:
    """All resources of the hub's machine, in the order in which they are made."""
    who, common = accounts_of(config.hub, True), shared(config, site)
    images = (hub_image(config, site), edge_image(config), common.users)
    hub_machine = str(config.hub_machine)
    return (
        DockerEngine(live_restore=False),
        SwarmManager(config.hub, site.addresses[hub_machine]),
        *images,
        *desired.accounts(config, who),
        *desired.directories(config, site, who),
        *desired.networks(config),
        *_marker(config, site),
        *registry.trust(config, site),
        *registry.registry(config, site, who),
        common.guard,
        *registry.given(config, site, common.users, common.guard),
        *_nodes(config, site),
        *_machine(config, site),
        _network(config),
        *((guard(config, site, common.guard),) if hub_machine in config.worker_machines else ()),
        *desired.serving(
            config, site, _form(config, site, common.users), desired.here(parts.users_network(config.hub)), images
        ),
    )


def machine_state(config: Config, site: Site, name: str, common: Shared) -> tuple[Resource, ...]:
    """The same for another machine: with users' servers, with the edge, or both."""
    wanted: list[Resource] = [DockerEngine(live_restore=False)]
    if name in config.worker_machines:
        layout, root = site.layout, "root"
        manager = str(config.hub_machine)
        wanted += [
            Directory(str(layout.base), root, root, 0o755),
            Directory(str(layout.state), root, root, 0o711),
            File(str(layout.called), f"{name}\n", root, root),
            *registry.trust(config, site),
            SwarmMember(config.hub, manager, site.addresses[manager], site.addresses[name], name),
            *(SharedDirectory(str(Path(one.path).parent), MARKER, one.content) for one in _marker(config, site)),
            *registry.taken(config, site, common.users, common.guard),
            *_machine(config, site),
            guard(config, site, common.guard),
        ]
    if name == config.edge_machine:
        edge = front.alone(config, site, accounts_of(config.hub, True), edge_image(config), live_restore=False)
        known = {resource.id for resource in wanted}
        wanted += [resource for resource in edge if resource.id not in known]
    return tuple(wanted)


def _nodes(config: Config, site: Site) -> Iterator[SwarmNode]:
    """How the manager tells machines apart, and those with servers from others."""
    hub, workers = str(config.hub_machine), config.worker_machines
    for name in dict.fromkeys((hub, *workers)):
        labels = {WORKER: "yes"} if name in workers else {}
        yield SwarmNode(name, config.hub, site.addresses[name], labels, "pause" if name in site.drained else "active")


def _machine(config: Config, site: Site) -> Iterator[Resource]:
    """What users' servers need on each machine that has some."""
    others = tuple(sorted(set(site.addresses.values())))
    yield Firewall(f"{config.hub}_out", interface=WAY_OUT, allow=config.network.allow, deny=others)


def _network(config: Config) -> Network:
    """That of the whole swarm, which its manager makes."""
    fleet = addresses(config.hub, config.network.fleet)
    return Network(
        fleet_network(config.hub),
        driver="overlay",
        attachable=True,
        encrypted=config.network.fleet.encrypted,
        subnet=fleet.subnet,
        ip_range=fleet.servers,
        gateway=fleet.gateway,
    )


def _form(config: Config, site: Site, users: Image) -> desired.Form:
    fleet = addresses(config.hub, config.network.fleet)
    engine: dict[str, Any] = {
        "image": registry.reference(config, site, users),
        "network": fleet_network(config.hub),
        "door": {"address": fleet.launcher, "port": DOOR_PORT},
        "probe": {"address": fleet.launcher, "port": PROBE_PORT},
        "server_port": SERVER_PORT,
        "homes": homes(config, site.layout.homes),
        "placement": [f"node.labels.hubfleet.{config.hub}.{WORKER}==yes"],
    }
    attached = {"hub": fleet.hub, "proxy": fleet.proxy, "launcher": fleet.launcher}
    return desired.Form(engine, {"fleet_address": f"{fleet.hub}:{HUB_PORT}"}, fleet_network(config.hub), attached)


def _marker(config: Config, site: Site) -> Iterator[File]:
    """By what other machines know that their homes are these. It says nothing, and is different for each hub."""
    place = config.homes(site.layout.homes)
    if place is not None and set(config.worker_machines) != {config.hub_machine}:
        said = hashlib.sha256(site.tokens["operator_token"].encode()).hexdigest()[:16]
        yield File(str(place / MARKER), f"Homes of hub {config.hub} ({said}).\n", "root", "root")


def homes(config: Config, usual: Path) -> dict[str, str]:
    """How servers on any machine come to homes, as the launcher's engine takes it."""
    place = config.homes(usual)
    return {"kind": "none"} if place is None else {"kind": "mounted", "path": str(place)}
