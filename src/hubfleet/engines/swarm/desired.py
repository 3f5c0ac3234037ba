"""Everything that engine ``swarm`` wants on its machines. Pure: configuration and site in, resources out.

The hub's own parts are what they are with engine ``docker``, containers of the hub's machine. What is added is what
machines need to be one swarm, and what users' servers need on each of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from hubfleet.config import Config
from hubfleet.config.fleet import addresses
from hubfleet.engines.accounts import accounts_of
from hubfleet.engines.base import Site
from hubfleet.engines.disks import disks
from hubfleet.engines.docker import desired, front, parts
from hubfleet.engines.docker import homes as keeper
from hubfleet.engines.docker.images import by_base, edge_image, guard_image, hub_image, user_images
from hubfleet.engines.docker.skeleton import folder, skeleton
from hubfleet.engines.swarm import ports, registry, sharing
from hubfleet.engines.swarm.guarding import guard
from hubfleet.engines.swarm.places import (
    DOOR_PORT,
    DRAINED,
    HUB_PORT,
    PROBE_PORT,
    SERVER_PORT,
    WAY_OUT,
    WORKER,
    YES,
    fleet_network,
    label,
)
from hubfleet.resources import (
    Comeback,
    Container,
    Directory,
    DockerEngine,
    File,
    Firewall,
    Image,
    Network,
    Opening,
    Resource,
    SharedDirectory,
    SwarmManager,
    SwarmMember,
    SwarmNode,
    Volumes,
)

MARKER = ".hubfleet-fleet"
"""A file among the homes, written on the machine that has them."""


@dataclass(frozen=True)
class Shared:
    """The images that other machines have of the hub's machine. To make one takes its time."""

    hub: Image
    users: tuple[Image, ...]
    guard: Image

    def wanted(self, config: Config, name: str) -> tuple[Image, ...]:
        """By a machine that is not the hub's."""
        servers = (*self.users, self.guard) if name in config.worker_machines else ()
        return (*servers, *((self.hub,) if _has_homes(config, name) else ()))


def shared(config: Config, site: Site) -> Shared:
    """All of them."""
    return Shared(hub_image(config, site), user_images(config, site), guard_image(config, site))


def hub_state(config: Config, site: Site) -> tuple[Resource, ...]:
    """All resources of the hub's machine, in the order in which they are made."""
    who, common = accounts_of(config.hub, True), shared(config, site)
    door = edge_image(config)
    given = (*common.users, common.guard, *((common.hub,) if config.homes_apart else ()))
    hub_machine = str(config.hub_machine)
    form, users_network = _form(config, site, common.users), parts.users_network(config.hub)
    serving = tuple(desired.serving(config, site, form, desired.here(users_network), common.hub, door, common.users))
    return (
        DockerEngine(live_restore=False),
        *_opening(config, site, hub_machine),
        SwarmManager(config.hub, site.addresses[hub_machine]),
        common.hub,
        door,
        *common.users,
        *desired.accounts(config, who),
        *desired.directories(config, site, who),
        *desired.networks(config),
        *_homes_there(config, site, hub_machine),
        *registry.trust(config, site),
        *registry.registry(config, site, who),
        common.guard,
        *registry.given(config, site, *given),
        *_nodes(config, site),
        *_machine(config, site),
        _network(config),
        *_servers(config, site, hub_machine, common.guard),
        *_comeback(config, site, serving),
        *serving,
    )


def machine_state(config: Config, site: Site, name: str, common: Shared) -> tuple[Resource, ...]:
    """The same for another machine: with users' servers, with homes, with the edge, or with several of these."""
    wanted: list[Resource] = [DockerEngine(live_restore=False), *_opening(config, site, name)]
    layout, root = site.layout, "root"
    if name in config.worker_machines or _has_homes(config, name):
        manager = str(config.hub_machine)
        wanted += [
            Directory(str(layout.base), root, root, 0o755),
            Directory(str(layout.state), root, root, 0o711),
            Directory(str(layout.run), root, root, 0o711),
            File(str(layout.called), f"{name}\n", root, root),
            *registry.trust(config, site),
            SwarmMember(config.hub, manager, site.addresses[manager], site.addresses[name], name),
            *_homes_there(config, site, name),
            *registry.taken(config, site, *common.wanted(config, name)),
            *_machine(config, site),
            *_servers(config, site, name, common.guard),
        ]
        keeping = tuple(_keeper(config, site, common.hub)) if _has_homes(config, name) else ()
        wanted += [*_comeback(config, site, keeping), *keeping]
    if name == config.edge_machine:
        edge = front.alone(config, site, accounts_of(config.hub, True), edge_image(config), live_restore=False)
        known = {resource.id for resource in wanted}
        wanted += [resource for resource in edge if resource.id not in known]
    return tuple(wanted)


def _opening(config: Config, site: Site, name: str) -> Iterator[Opening]:
    """Before the machine is in a swarm, for which others have to reach it."""
    wanted = ports.openings(config, site).get(name)
    if wanted is not None:
        yield wanted


def _has_homes(config: Config, name: str) -> bool:
    """Whether a machine that is not the hub's has them."""
    return config.homes_apart and name == config.storage_machine


def _homes_there(config: Config, site: Site, name: str) -> Iterator[Resource]:
    """What a machine needs to have the homes, or to be sure that it sees those of the machine that has."""
    markers = tuple(_marker(config, site))
    if name == config.storage_machine:
        if config.homes_apart:
            yield from keeper.directories(config, site.layout)
        yield from disks(config, site.layout)
        yield from markers
        yield from sharing.export(config, site, name)
    elif name in config.worker_machines:
        yield from (SharedDirectory(str(Path(one.path).parent), MARKER, one.content) for one in markers)


def _keeper(config: Config, site: Site, image: Image) -> Iterator[Resource]:
    """Who keeps the homes, on a machine that is not the hub's."""
    begin = skeleton(config, site.layout)
    if begin:
        yield from (Directory(str(folder(site.layout)), "root", "root", 0o700), begin)
    files = keeper.files(config, site, begin)
    yield from files.values()
    fleet, network = addresses(config.hub, config.network.fleet), fleet_network(config.hub)
    networks = {"network": network, "networks": ((network, fleet.storage),)}
    yield keeper.container(config, site, image, files, networks, registry.reference(config, site, image))


def _nodes(config: Config, site: Site) -> Iterator[SwarmNode]:
    """How the manager tells machines apart, and those with servers from others. A machine that another hub of the swarm
    has drained, or somebody by hand, is nothing of this hub's."""
    hub, workers = str(config.hub_machine), config.worker_machines
    homes = (str(config.storage_machine),) if config.homes_apart else ()
    for name in dict.fromkeys((hub, *workers, *homes)):
        labels = {WORKER: YES} if name in workers else {}
        labels |= {DRAINED: YES} if name in workers and name in site.drained else {}
        yield SwarmNode(name, config.hub, site.addresses[name], labels)


def _machine(config: Config, site: Site) -> Iterator[Resource]:
    """What is needed on each machine with containers in the fleet's network: one with servers, or with homes."""
    # Those at which people and operators come to them, too. What ssh is told may be a name.
    others = tuple(sorted(one for one in {*site.addresses.values(), *site.reached} if _is_address(one)))
    closed = sharing.closed(config)
    yield Firewall(f"{config.hub}_out", interface=WAY_OUT, allow=config.network.allow, deny=others, closed=closed)


def _servers(config: Config, site: Site, name: str, image: Image) -> Iterator[Resource]:
    """What is on a machine only for the users' servers there. ``image``: the guard's."""
    if name in config.worker_machines:
        yield Volumes(config.hub)
        yield guard(config, site, image)


def _comeback(config: Config, site: Site, made: Iterable[Resource]) -> Iterator[Comeback]:
    """For those containers that the engine cannot start while the manager of the swarm is away."""
    network = fleet_network(config.hub)
    containers = [one for one in made if isinstance(one, Container)]
    names = [one.name for one in containers if network in (one.network, *(name for name, _ in one.networks))]
    if names:
        yield Comeback(config.hub, str(site.layout.state), tuple(names))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


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


def _form(config: Config, site: Site, users: Sequence[Image]) -> desired.Form:
    fleet = addresses(config.hub, config.network.fleet)
    engine: dict[str, Any] = {
        **by_base(users, lambda image: registry.reference(config, site, image)),
        "network": fleet_network(config.hub),
        "door": {"address": fleet.launcher, "port": DOOR_PORT},
        "probe": {"address": fleet.launcher, "port": PROBE_PORT},
        "server_port": SERVER_PORT,
        "homes": sharing.homes(config, site),
        "placement": [f"node.labels.{label(config.hub, WORKER)}=={YES}"],
    }
    attached = {"hub": fleet.hub, "proxy": fleet.proxy, "launcher": fleet.launcher}
    return desired.Form(engine, {"fleet_address": f"{fleet.hub}:{HUB_PORT}"}, fleet_network(config.hub), attached)


def _marker(config: Config, site: Site) -> Iterator[File]:
    """By what other machines know that their homes are these. It says nothing, and is different for each hub."""
    place = sharing.marker(config, site)
    if place is not None:
        said = hashlib.sha256(site.tokens["operator_token"].encode()).hexdigest()[:16]
        yield File(str(place / MARKER), f"Homes of hub {config.hub} ({said}).\n", "root", "root")
