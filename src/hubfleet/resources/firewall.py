"""What the containers on a bridge may reach: the internet, and nothing private."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import ClassVar

from hubfleet.resources.base import Change, Observed, Resource

PRIVATE_4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",  # between providers and their customers; one cloud's metadata
    "127.0.0.0/8",
    "168.63.129.16/32",  # one cloud's platform, at an address that looks public
    "169.254.0.0/16",  # metadata of most clouds
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
PRIVATE_6 = (
    "::/96",  # the machine itself, and IPv4 in an old dress
    "::ffff:0:0/96",
    "64:ff9b::/96",  # leads to IPv4 addresses, private ones too; so do the next two
    "64:ff9b:1::/48",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)
_RULES = """\
# Written by hubfleet, which replaces it. What containers on {interface} may reach.
table inet {table}
delete table inet {table}
table inet {table} {{
{sets}
	chain forward {{
		type filter hook forward priority filter - 5; policy accept;
		iifname "{interface}" jump leaving
		oifname "{interface}" jump entering
	}}

	chain input {{
		type filter hook input priority filter - 5; policy accept;
		iifname "{interface}" jump host
	}}

	# "reply": a connection that began while these rules were away is not carried on

	chain leaving {{
		ct direction reply ct state established,related return
		meta l4proto {{ tcp, udp }} th dport 53 ip daddr @resolvers4 return
		meta l4proto {{ tcp, udp }} th dport 53 ip6 daddr @resolvers6 return
{denied}		ip daddr @allowed4 return
		ip6 daddr @allowed6 return
		ip daddr @private4 drop
		ip6 daddr @private6 drop
	}}

	chain entering {{
		ct direction reply ct state established,related return
		drop
	}}

	chain host {{
		ct direction reply ct state established,related return
		meta l4proto {{ tcp, udp }} th dport 53 ip daddr @resolvers4 return
		meta l4proto {{ tcp, udp }} th dport 53 ip6 daddr @resolvers6 return
		icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} return
		drop
	}}
}}
"""
_DENIED = """\
		ip daddr @denied4 drop
		ip6 daddr @denied6 drop
"""


@dataclass(frozen=True)
class Firewall(Resource):
    """Rules for what comes from a network interface and goes to it.

    Nothing reaches the machine itself, nothing private is reached, and nothing new comes in. Of what is private, the
    machine's resolvers answer on port 53: Docker's embedded DNS asks them from within the container. (And the
    machine tells its neighbours which network card has its address, or IPv6 would not find the way out.)

    interface: the bridge; it need not be there yet.
    allow:     addresses or networks that may be reached although they are private.
    deny:      those that are not reached though they are allowed or public: other machines of the hub's.
    closed:    ports that are reached nowhere: what listens there takes anybody on this machine for the machine.
    Observed keys: loaded (`digest` of the rules that are in force; empty if they are not as they were loaded),
    kept (they come back after a restart of the machine), resolvers (addresses of those the machine uses).
    """

    kind: ClassVar[str] = "firewall"
    keyed_by: ClassVar[str] = "name"
    volatile: ClassVar[frozenset[str]] = frozenset({"resolvers"})

    name: str
    interface: str
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    closed: tuple[int, ...] = ()

    @property
    def table(self) -> str:
        """Name of the table of rules."""
        return f"hubfleet_{self.name}"

    def rules(self, resolvers: Iterable[str]) -> str:
        """The rules as `nft -f` takes them, in one step. Raises ValueError if `allow` or `deny` has what is no
        address."""
        allowed, asked = _networks(self.allow), _networks(resolvers)
        # Only where there are any: elsewhere the rules stay those that are in force.
        denied = [("denied", _networks(self.deny))] if self.deny else []
        sets = "\n".join(
            _set(f"{name}{version}", version, [one for one in networks if one.version == version])
            for name, networks in (
                ("private", _networks([*PRIVATE_4, *PRIVATE_6])),
                ("allowed", allowed),
                ("resolvers", asked),
                *denied,
            )
            for version in (4, 6)
        )
        drops = _DENIED if self.deny else ""
        if self.closed:
            drops += f"\t\tmeta l4proto {{ tcp, udp }} th dport {{ {', '.join(map(str, self.closed))} }} drop\n"
        return _RULES.format(interface=self.interface, table=self.table, sets=sets, denied=drops)

    def digest(self, resolvers: Iterable[str]) -> str:
        """Changes whenever the rules do."""
        return hashlib.sha256(self.rules(resolvers).encode()).hexdigest()[:16]

    def diff(self, observed: Observed | None) -> Change | None:
        if observed is None:
            allowed = (f"but {', '.join(self.allow)}",) if self.allow else ()
            denied = (f"nor {', '.join(self.deny)}",) if self.deny else ()
            closed = (f"nor port {', '.join(map(str, self.closed))} anywhere",) if self.closed else ()
            what = f"from {self.interface}, no private address is reached"
            return Change(self, "create", (what, *allowed, *denied, *closed))
        lines = []
        if observed["loaded"] != self.digest(observed["resolvers"]):
            words = "the rules in force are other ones" if observed["loaded"] else "the rules are not in force"
            lines.append(f"{words}: they are loaded")
        if not observed["kept"]:
            lines.append("they are loaded whenever the machine starts")
        return Change(self, "update", tuple(lines)) if lines else None


def _networks(texts: Iterable[str]) -> list[IPv4Network | IPv6Network]:
    """In one order and without overlaps, which a set of the kernel's does not take."""
    given = [ip_network(text, strict=False) for text in texts]
    fours = [one for one in given if isinstance(one, IPv4Network)]
    sixes = [one for one in given if isinstance(one, IPv6Network)]
    return [*collapse_addresses(fours), *collapse_addresses(sixes)]


def _set(name: str, version: int, networks: Iterable[IPv4Network | IPv6Network]) -> str:
    elements = ", ".join(str(one) for one in networks)
    lines = [f"\tset {name} {{", f"\t\ttype ipv{version}_addr; flags interval;"]
    lines += [f"\t\telements = {{ {elements} }}"] if elements else []
    return "\n".join([*lines, "\t}\n"])
