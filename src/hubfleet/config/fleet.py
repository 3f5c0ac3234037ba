"""The network between the machines of engine swarm: its settings, and which of its addresses are whose."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, PlainValidator, model_validator

from hubfleet.config.fields import BadValue, Flag, Form, Port
from hubfleet.config.section import Section, setting

REGISTRY_PORT = 7445
"""Where the hub's machine gives images to the others, unless the file says otherwise."""
MOST_SERVERS = 8000
LARGEST, SMALLEST = 16, 23
"""Lengths of prefixes that a subnet may have."""
_USUAL = ipaddress.IPv4Network("10.192.0.0/10")
_ROOM = 2  # addresses for each server: one that has stopped keeps its own for a moment
_REGISTRY = re.compile(r"(?=[^/]*[.:])[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d+)?(/[a-z0-9][a-z0-9._-]*)*", re.ASCII)


def _registry(raw: object) -> str:
    if isinstance(raw, str) and _REGISTRY.fullmatch(raw):
        return raw
    if "@" in str(raw):
        # A password may stand there: not repeated.
        raise BadValue("a registry is named without an account", "take out what is before the `@`, and docker login")
    raise BadValue(f"`{raw}` is not a registry", "registry.example.edu/hubs, or 10.0.0.5:5000")


def _subnet(raw: object) -> str:
    try:
        network: Any = ipaddress.ip_network(raw if isinstance(raw, str) else "")
    except ValueError:
        raise BadValue(f"`{raw}` is not a network of IPv4 addresses", "10.200.0.0/20") from None
    if network.version != 4 or not network.is_private or network.is_loopback or network.is_link_local:
        raise BadValue(f"`{raw}` is not a private network of IPv4 addresses", "10.200.0.0/20")
    if not LARGEST <= network.prefixlen <= SMALLEST:
        raise BadValue(f"`{raw}` has too {'many' if network.prefixlen < LARGEST else 'few'} addresses", "10.200.0.0/20")
    return str(network)


Registry = Annotated[str, PlainValidator(_registry), Form("registry")]
Subnet = Annotated[str, PlainValidator(_subnet), Form("private network")]
ServerCount = Annotated[int, Field(strict=True, ge=1, le=MOST_SERVERS)]


class Fleet(Section):
    """The network between the machines of engine swarm, on which the hub and users' servers find each other."""

    servers: ServerCount = setting(
        1000,
        "Most servers at a time. It decides how many addresses there are, and cannot grow while servers run.",
        220,
    )
    subnet: Subnet | None = setting(
        None,
        "Its addresses, which nothing else may have that the machines reach. Default: chosen by the hub's name below "
        f"{_USUAL}, as large as `servers` needs.",
        "10.200.0.0/20",
    )
    encrypted: Flag = setting(
        True,
        "Whether what passes between the machines is encrypted, by their kernels. `false` only where nobody else is on "
        "the wire.",
        False,
    )
    registry: Registry | None = setting(
        None,
        "Registry by which images come to the machines; where it wants an account, root is logged in to it on each. "
        "Default: one that the hub's machine runs for the others.",
        "registry.example.edu/hubs",
    )
    registry_port: Port = setting(
        REGISTRY_PORT, "TCP port of that default one on the hub's machine, for the other machines only.", 7446
    )

    @model_validator(mode="after")
    def _enough(self) -> Fleet:
        if self.subnet:
            length, needed = ipaddress.IPv4Network(self.subnet).prefixlen, _prefix(self.servers)
            if length > needed:
                what = f"subnet {self.subnet} is too small for {self.servers} servers"
                raise BadValue(what, f"one with /{needed}, or fewer servers")
        return self


@dataclass(frozen=True)
class Addresses:
    """A hub's addresses on the network between its machines.

    The first of ``subnet``, which ``own`` holds, are those of the hub's own containers; to servers the engine gives
    addresses out of ``servers``, of which it takes one for each machine too.
    """

    subnet: str
    own: str
    servers: str
    gateway: str
    hub: str
    proxy: str
    launcher: str
    storage: str


def addresses(hub: str, fleet: Fleet) -> Addresses:
    """The addresses of a hub; always the same for the same settings."""
    subnet = ipaddress.IPv4Network(fleet.subnet or _chosen(hub, _prefix(fleet.servers)))
    own = next(subnet.subnets(new_prefix=26))
    _, upper = subnet.subnets(prefixlen_diff=1)
    first = int(subnet.network_address)
    named = [str(ipaddress.IPv4Address(first + number)) for number in range(1, 6)]
    return Addresses(str(subnet), str(own), str(upper), *named)


def _prefix(servers: int) -> int:
    """Length of the prefix of a subnet half of which is enough."""
    return min(SMALLEST, 31 - (servers * _ROOM + 2).bit_length())


def _chosen(hub: str, prefix: int) -> str:
    """Two hubs on the same machines rarely get the same, and nothing is lost if they do: their networks are apart."""
    number = int.from_bytes(hashlib.sha256(hub.encode()).digest()[:4], "big") % 2 ** (prefix - _USUAL.prefixlen)
    start = int(_USUAL.network_address) + (number << (32 - prefix))
    return f"{ipaddress.IPv4Address(start)}/{prefix}"
