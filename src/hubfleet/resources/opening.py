"""Ways that a machine's own firewall has to leave open between the machines of a fleet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource

ANYBODY = "anybody"
"""In place of an address: people."""
Way = tuple[str, str]
"""Whom it is open to (an address, or `ANYBODY`), and what: "tcp/2377", "udp/4789", or "esp", which has no ports."""


@dataclass(frozen=True)
class Opening(Resource):
    """What other machines may reach here, through whichever firewalls are active on this one.

    With none active there is nothing to do. What the rules of others say stays as it is.

    name:      of the hub, which our rules are marked with: each hub of a machine has its own.
    ways:      to programs of the machine itself.
    published: to containers. The engine leads these around what guards the machine itself; a chain of nftables that
               lets nothing be passed on would stop them.
    Observed keys: firewalls (by the firewall's name: active, passes (it is about what is passed on), and each way as
    two words: now (ours in force), kept (ours when it has been loaded anew), given (open by rules of others)), unsaved
    (what a firewall would lose if it were loaded anew, which ours need; "" for nothing).
    """

    kind: ClassVar[str] = "opening"
    keyed_by: ClassVar[str] = "name"

    name: str
    ways: tuple[Way, ...] = ()
    published: tuple[Way, ...] = ()

    @property
    def mark(self) -> str:
        """What a comment on each of our rules says."""
        return f"hubfleet {self.name}"

    @property
    def title(self) -> str:
        """What it is, and for whom."""
        return f"{self.kind} for hub {self.name}"

    def wanted(self, passes: bool) -> set[Way]:
        """What a firewall has to leave open; ``passes``: it is about what is passed on."""
        return set(self.published if passes else self.ways)

    def missing(self, observed: Observed) -> dict[str, set[Way]]:
        """By firewall, what is not open, or not for good."""
        found = {}
        for name, firewall in observed["firewalls"].items():
            there = (_ways(firewall["now"]) & _ways(firewall["kept"])) | _ways(firewall["given"])
            if firewall["active"] and (lacks := self.wanted(firewall["passes"]) - there):
                found[name] = lacks
        return found

    def diff(self, observed: Observed | None) -> Change | None:
        """Nothing where no firewall is active. Raises CheckError if that would undo what others did."""
        if observed is None:
            return None
        missing, lines = self.missing(observed), []
        for name, firewall in observed["firewalls"].items():
            ours = _ways(firewall["now"]) | _ways(firewall["kept"])
            over = ours - self.wanted(firewall["passes"]) if firewall["active"] else ours
            lines += [f"{name} lets in {said(missing[name])}"] if name in missing else []
            lines += [f"{name} lets in no more {said(over)}"] if over else []
        if missing and observed["unsaved"]:
            raise CheckError(
                f"{observed['unsaved']}, which opening ports for other machines would undo",
                state="It was left as it is",
                remedy="there, firewall-cmd --runtime-to-permanent to keep that, or firewall-cmd --reload to forget it",
            )
        return Change(self, "create" if self.absent(observed) else "update", tuple(lines)) if lines else None

    def absent(self, observed: Observed | None) -> bool:
        """Firewalls are there without us."""
        firewalls = observed["firewalls"].values() if observed else ()
        return not any(one["now"] or one["kept"] for one in firewalls)

    def steady(self, observed: Observed | None) -> Observed | None:
        """Others may change their rules meanwhile: no plan goes stale."""
        return None

    def removal(self, observed: Observed | None) -> Change | None:
        if self.absent(observed) or observed is None:
            return None
        names = [name for name, one in observed["firewalls"].items() if one["now"] or one["kept"]]
        return Change(self, "remove", (f"{', '.join(names)}: other machines are let in no more for this hub",))


def _ways(listed: Iterable[Iterable[str]]) -> set[Way]:
    """As JSON brings them."""
    found = set()
    for source, what in listed:
        found.add((source, what))
    return found


def said(ways: Iterable[Way]) -> str:
    """For people: "10.0.0.11 and 10.0.0.12 at TCP 2377 and 7946, UDP 4789; anybody at TCP 443"."""
    by_source: dict[str, set[str]] = {}
    for source, what in ways:
        by_source.setdefault(source, set()).add(what)
    by_ports: dict[str, list[str]] = {}
    for source in sorted(by_source, key=_order):
        by_ports.setdefault(ports(by_source[source]), []).append(source)
    return "; ".join(f"{_listed(sources)} at {words}" for words, sources in by_ports.items())


def ports(whats: Iterable[str]) -> str:
    """For people: "TCP 2377 and 7946, UDP 4789, ESP"."""
    found: dict[str, list[int]] = {}
    for what in whats:
        protocol, _, port = what.partition("/")
        found.setdefault(protocol.upper(), []).extend([int(port)] if port else [])
    order = sorted(found, key=("TCP", "UDP", "ESP").index)
    return ", ".join(" ".join(filter(None, [name, _listed(map(str, sorted(found[name])))])) for name in order)


def _order(source: str) -> tuple[int, ...]:
    """Addresses by their numbers, and people last."""
    return tuple(map(int, source.split("."))) if source[:1].isdigit() else (256,)


def _listed(words: Iterable[str]) -> str:
    found = list(words)
    return " and ".join(filter(None, [", ".join(found[:-1]), *found[-1:]]))
