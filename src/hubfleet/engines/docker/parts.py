"""The hub's own parts: what their containers and networks are called, where their files are, where they listen."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from hubfleet.config import Config
from hubfleet.layout import Layout

PARTS = ("launcher", "proxy", "hub", "edge")
"""The hub's own containers, in the order in which they start."""
ENGINE_SOCKET = "/var/run/docker.sock"
EDGE_HTTP, EDGE_HTTPS = 8080, 8443
"""Where the edge listens in its container, with no privilege."""
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


def edge_socket(layout: Layout) -> Path:
    """The socket at which the edge says that it runs."""
    return layout.run / "edge" / "alive.sock"


def published(config: Config) -> tuple[tuple[str, int, int], ...]:
    """Address and port of the machine, and the port of the edge's container that they lead to."""
    if config.https_kind == "off":
        return ((config.listen.address, config.listen.port, EDGE_HTTP),)
    return (("0.0.0.0", 443, EDGE_HTTPS), ("0.0.0.0", 80, EDGE_HTTP))


def names(config: Config) -> tuple[str, ...]:
    """What people call the hub when it has no domain: the address its machine is reached at, or else "localhost".

    One name: to who comes with none, as all do who come by an address, the edge gives any certificate it has.
    """
    hosts = [urlsplit(f"ssh://{machine.ssh.removeprefix('ssh://')}").hostname for machine in config.machines.values()]
    return tuple(host for host in hosts if host) or ("localhost",)


def proxy_dir(layout: Layout) -> Path:
    """The proxy's own files."""
    return layout.state / "proxy"


def edge_dir(layout: Layout) -> Path:
    """The edge's own files: its configuration, and certificates it was given."""
    return layout.state / "edge"


def entrance(layout: Layout) -> Path:
    """The socket at which the proxy takes what the edge lets in."""
    return layout.run / "entrance" / "proxy.sock"
