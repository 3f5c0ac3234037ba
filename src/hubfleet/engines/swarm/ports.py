"""What the machines of a fleet have to reach of each other, and people of it. Pure.

A machine's own firewall stands before what the machine itself listens at: the swarm's ports. What containers publish
(the registry, the gate, the edge) the engine leads around that.
"""

from __future__ import annotations

from collections.abc import Iterator

from hubfleet.config import Config
from hubfleet.engines.base import Site
from hubfleet.engines.docker import parts
from hubfleet.engines.swarm import registry, sharing
from hubfleet.resources.export import PORT as NFS
from hubfleet.resources.opening import ANYBODY, Opening, Way

MANAGER = "tcp/2377"
"""Where the swarm's manager listens, for those that join and for as long as they are in it."""
GOSSIP = ("tcp/7946", "udp/7946")
"""Where members tell each other what is where."""
DATA = "udp/4789"
"""What containers on different machines say to each other."""
ESP = "esp"
"""The same, encrypted: an IP protocol of its own. What is in it is looked at once more, as `DATA`."""

HOMES = f"tcp/{NFS}"
"""Where the machine that has the homes exports them."""


def openings(config: Config, site: Site) -> dict[str, Opening]:
    """By machine, what it leaves open to others."""
    found = {}
    for name in config.machines:
        ways, published = tuple(_ways(config, site, name)), tuple(_published(config, site, name))
        if ways or published:
            found[name] = Opening(config.hub, ways, published)
    return found


def _ways(config: Config, site: Site, name: str) -> Iterator[Way]:
    for address in _others(config, site, name):
        if name == config.hub_machine:
            yield address, MANAGER
        yield from ((address, what) for what in (*GOSSIP, DATA))
        if config.network.fleet.encrypted:
            yield address, ESP
    if name == config.storage_machine and sharing.by_nfs(config):
        yield from ((address, HOMES) for address in sharing.clients(config, site) if sharing.is_address(address))


def _published(config: Config, site: Site, name: str) -> Iterator[Way]:
    if name == config.hub_machine and registry.own(config):
        for address in _others(config, site, name):
            yield address, f"tcp/{config.network.fleet.registry_port}"
    edge = site.addresses[str(config.edge_machine)] if name == config.hub_machine and config.edge_apart else ""
    if sharing.is_address(edge):
        yield edge, f"tcp/{parts.gate_port(config)}"
    if name == (config.edge_machine or config.hub_machine):
        yield from ((ANYBODY, f"tcp/{port}") for _, port, _ in parts.published(config))


def _others(config: Config, site: Site, name: str) -> list[str]:
    """The addresses of the other members, where this is one."""
    there = config.swarm_machines
    if name not in there:
        return []
    return sorted({site.addresses[one] for one in there if one != name and sharing.is_address(site.addresses[one])})
