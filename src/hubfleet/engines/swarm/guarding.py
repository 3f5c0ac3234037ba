"""The container on each machine that keeps users' servers apart there. Pure."""

from __future__ import annotations

from hubfleet.config import Config
from hubfleet.config.fleet import addresses
from hubfleet.engines.base import Site
from hubfleet.engines.docker import parts
from hubfleet.engines.docker.common import PATH
from hubfleet.engines.docker.images import PACKAGES
from hubfleet.engines.swarm import registry
from hubfleet.engines.swarm.places import DOOR_PORT, HUB_PORT, fleet_network
from hubfleet.guard import CAPABILITIES, NAMESPACES, command, health
from hubfleet.resources import Container, Image

_PYTHON = "/usr/bin/python3"


def container(hub: str) -> str:
    """Its name, the same on each machine."""
    return parts.container(hub, "guard")


def part(config: Config, machine: str) -> str:
    """What a machine's guard is called among the hub's parts."""
    return "guard" if machine == config.hub_machine else f"guard of {machine}"


def guard(config: Config, site: Site, image: Image) -> Container:
    """The guard of one machine. ``image``: its own, see `images.guard_image`."""
    fleet = addresses(config.hub, config.network.fleet)
    doors = ((fleet.hub, HUB_PORT), (fleet.launcher, DOOR_PORT))
    return Container(
        name=container(config.hub),
        # By the registry's name on the hub's machine too: it has the image under both.
        image=registry.reference(config, site, image),
        argv=command(_PYTHON, fleet.subnet, doors),
        environment={"PATH": PATH, "PYTHONPATH": PACKAGES},
        mounts=((NAMESPACES, NAMESPACES, "ro"),),
        tmpfs=(("/tmp", 1024**2),),
        network=fleet_network(config.hub),
        capabilities=CAPABILITIES,
        health=tuple(health(_PYTHON)),
        impact="servers that are being started wait a moment; running servers go on",
    )
