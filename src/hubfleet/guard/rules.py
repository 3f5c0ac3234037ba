"""What may pass on the network. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

TABLE = "hubfleet"
HUB_PREFIX = 26
"""The hub's own containers are in the subnet's first network of this size; the engine gives servers others."""
_RULES = """\
table bridge {table}
delete table bridge {table}
table bridge {table} {{
	chain forward {{
		type filter hook forward priority -200; policy drop;
		ether type arp accept
		ip saddr {hub} ip daddr {subnet} meta l4proto tcp accept
		ip saddr {subnet} ip daddr {hub} tcp flags & (syn | ack) != syn accept
{doors}	}}

	chain input {{
		type filter hook input priority -200; policy drop;
	}}
}}
"""
_DOOR = "\t\tip saddr {subnet} ip daddr {address} tcp dport {port} accept\n"


def hub_addresses(subnet: IPv4Network) -> IPv4Network:
    """Those of the hub's own containers. Raises ValueError if the subnet has no room for more."""
    if subnet.prefixlen >= HUB_PREFIX:
        raise ValueError(f"{subnet} is too small: it has to be larger than a /{HUB_PREFIX}")
    return next(subnet.subnets(new_prefix=HUB_PREFIX))


def rules(subnet: IPv4Network, doors: Sequence[tuple[str, int]]) -> str:
    """As `nft -f` takes them, in one step.

    The hub's containers may open TCP connections to everybody, servers only to the doors. It is told by the packet that
    begins one, for a bridge knows no connections. Nothing else passes: no UDP, no ICMP, no IPv6, and nothing to the
    bridge itself, which would pass it on by another way.

    At the priority that filters of bridges have. Where the kernel shows what passes a bridge to iptables, as Docker has
    it do, kernels such as Debian 12's come back from there behind all that has priority 0, and pass it by.
    """
    opened = "".join(_DOOR.format(subnet=subnet, address=address, port=port) for address, port in doors)
    return _RULES.format(table=TABLE, subnet=subnet, hub=hub_addresses(subnet), doors=opened)
