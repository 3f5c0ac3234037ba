"""The hub's own parts: what their containers and networks are called, where their files are, where they listen."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from hubfleet.config import Config
from hubfleet.config.machines import LINK_PORT
from hubfleet.layout import Layout

PARTS = ("homes", "launcher", "proxy", "hub", "gate", "edge")
"""The hub's own containers, in the order in which they start. A gate is there only for an edge on another machine."""
DOORS = ("gate", "edge")
"""Those that people come in by."""
EDGE_HTTP, EDGE_HTTPS = 8080, 8443
"""Where the edge listens in its container, with no privilege."""
GATE = 8443
"""Where the gate listens in its container."""
HOST = "/host"
"""Where the launcher sees the machine's files, to look whether what is to be mounted is there."""


def container(hub: str, part: str) -> str:
    """The name of one of the hub's own containers."""
    return f"hubfleet-{hub}-{part}"


def users_network(hub: str) -> str:
    """The network of users' servers."""
    return f"hubfleet-{hub}-users"


def way_out(hub: str) -> str:
    """The network of hub and edge: both need to reach the outside, and the edge to be reached from there."""
    return f"hubfleet-{hub}"


def bridge(network: str) -> str:
    """The name of a network's interface on the machine, which may have 15 characters."""
    return f"hf-{hashlib.sha256(network.encode()).hexdigest()[:10]}"


def here(config: Config) -> tuple[str, ...]:
    """The parts on the hub's machine."""
    others = {"edge" if config.edge_apart else "gate"}
    if config.storage.homes is None or config.homes_apart:
        others.add("homes")
    return tuple(part for part in PARTS if part not in others)


def elsewhere(config: Config) -> dict[str, str]:
    """The machine of each part that is on another one."""
    found = {"homes": config.storage_machine if config.homes_apart else None}
    found["edge"] = config.edge_machine if config.edge_apart else None
    return {part: machine for part, machine in found.items() if machine}


def edge_socket(layout: Layout) -> Path:
    """The socket at which the edge says that it runs."""
    return layout.run / "edge" / "alive.sock"


def gate_socket(layout: Layout) -> Path:
    """The socket at which the gate says that it runs."""
    return layout.run / "gate" / "alive.sock"


def gate_dir(layout: Layout) -> Path:
    """The gate's own files: its configuration, its key, and the certificate that an edge must have."""
    return layout.state / "gate"


def link_dir(layout: Layout) -> Path:
    """What an edge on a machine of its own shows the gate, and the certificate that the gate must have."""
    return edge_dir(layout) / "link"


def gate_port(config: Config) -> int:
    """The port of the hub's machine at which the gate is reached."""
    machine = config.machines.get(config.hub_machine or "")
    return (machine and machine.link_port) or LINK_PORT


def gate_published(config: Config) -> tuple[str, int, int]:
    """The same as `published`, of the gate: at the private address where there is one.

    Without one there is no telling which of the machine's own addresses the edge's connections come to.
    """
    machine = config.machines.get(config.hub_machine or "")
    return (machine and machine.private_ip) or "0.0.0.0", gate_port(config), GATE


def published(config: Config) -> tuple[tuple[str, int, int], ...]:
    """Address and port of the machine, and the port of the edge's container that they lead to."""
    if config.https_kind == "off":
        return ((config.listen.address, config.listen.port, EDGE_HTTP),)
    return (("0.0.0.0", 443, EDGE_HTTPS), ("0.0.0.0", 80, EDGE_HTTP))


def names(config: Config) -> tuple[str, ...]:
    """What people call the hub when it has no domain: the address its machine is reached at, or else "localhost".

    One name: to who comes with none, as all do who come by an address, the edge gives any certificate it has.
    """
    machine = config.machines.get(config.edge_machine or "")
    host = urlsplit(f"ssh://{machine.ssh.removeprefix('ssh://')}").hostname if machine else None
    return (host or "localhost",)


def proxy_dir(layout: Layout) -> Path:
    """The proxy's own files."""
    return layout.state / "proxy"


def edge_dir(layout: Layout) -> Path:
    """The edge's own files: its configuration, and certificates it was given."""
    return layout.state / "edge"


def entrance(layout: Layout) -> Path:
    """The socket at which the proxy takes what the edge lets in."""
    return layout.run / "entrance" / "proxy.sock"
