"""Whether people find the machine, and the machine what it needs: judged by what was asked beforehand."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from hubfleet.agent.registry import ABSENT, REFUSED, THERE, TROUBLE, UNTRUSTED, Reference
from hubfleet.checks import Finding, Level
from hubfleet.config import Config
from hubfleet.config.https import PUBLIC_AUTHORITY, Https, Kind
from hubfleet.errors import HubfleetError

_REFUSED = os.strerror(errno.ECONNREFUSED)
Names = Sequence[str] | str
"""The addresses a name leads to, or the resolver's words why there are none."""


@dataclass(frozen=True)
class Target:
    """What the machine should reach, and what it is for. ``level``, ``remedy``: of the finding if it does not."""

    host: str
    port: int
    use: str
    level: Level
    remedy: str

    @property
    def key(self) -> str:
        return f"{self.host}:{self.port}"


def targets(config: Config, *, edge: bool = True, hub: bool = True) -> list[Target]:
    """What the machine has to reach for this configuration, beside registries of images.

    edge: people come in by it. hub: servers are started from it.
    """
    network = config.network
    found: list[Target] = []
    if network.proxy:
        remedy = f"correct {config.line('network.proxy')}network.proxy, or what keeps the machine from it"
        found.append(_of(network.proxy, "the proxy for building images", "problem", remedy))
    elif network.package_index:
        remedy = f"correct {config.line('network.package_index')}network.package_index, or name a network.proxy"
        found.append(_of(network.package_index, "the package index", "problem", remedy))
    if edge and config.https_kind in ("auto", "authority"):
        given = config.https.acme if isinstance(config.https, Https) else None
        remedy = "let the machine reach it; without it there is no new certificate"
        found.append(_of(given or PUBLIC_AUTHORITY, "the authority for the certificate", "note", remedy))
    for path, address in config.storage.services.items() if hub else ():
        remedy = f"let the machine reach it, or correct {config.line(path)}{path}; without it nobody new can start"
        found.append(_of(address, "what is asked at each start", "problem", remedy))
    return found


def _of(address: str, use: str, level: Level, remedy: str) -> Target:
    parts = urlsplit(address)
    port = parts.port or {"https": 443, "ldap": 389, "ldaps": 636}.get(parts.scheme, 80)
    return Target(parts.hostname or "", port, use, level, remedy)


def images(config: Config, said: Mapping[str, Sequence[str]], *, docker: bool) -> Iterator[Finding]:
    """Whether images that the machine has not can be had: by image, what its registry says, and why.

    docker: the machine has Docker, so that an image could be brought to it by hand.
    """
    for image, (verdict, why) in said.items():
        registry = Reference.of(image).address
        setting = "servers.image" if image == config.servers.image else "base_image"
        correct = f"correct {config.line(setting)}{setting}"
        first = "" if docker else "apt install docker.io there, and then "
        bring = f"{first}bring it there: docker save {image} | ssh ... docker load"
        if verdict == THERE:
            yield Finding("ok", f"image {image} is in its registry ({registry})")
        elif verdict == ABSENT:
            yield Finding("problem", f"image {image} is not in its registry, which {registry} is. Try: {correct}")
        elif verdict == REFUSED:
            yield Finding(
                "problem",
                f"{registry} does not give image {image} to who has no account there, or has no such image ({why}). "
                f"Try: {correct}, or {bring}",
            )
        elif verdict == UNTRUSTED:
            yield Finding(
                "problem",
                f"the certificate of {registry}, the registry of {image}, is not trusted there ({why}). "
                "Try: name its authority's certificate: network: {ca_bundle: site-ca.crt}",
            )
        elif verdict == TROUBLE:
            yield Finding("note", f"{registry} does not say whether it has image {image} now ({why})")
        else:
            yield Finding(
                "problem", f"the registry of {image}: {registry} cannot be reached from there ({why}). Try: {bring}"
            )


def outside(wanted: Sequence[Target], answers: Mapping[str, str]) -> Iterator[Finding]:
    """``answers``: by the target's key, why it does not answer, or ""."""
    for target in wanted:
        why = answers[target.key]
        if not why:
            yield Finding("ok", f"{target.use} ({target.host}) can be reached from there")
        else:
            yield Finding(
                target.level, f"{target.use}: {target.key} cannot be reached from there ({why}). Try: {target.remedy}"
            )


def domain(
    name: str, kind: Kind, machine: str, *, own: set[str], reached: Names, here: Names, there: Names
) -> Iterator[Finding]:
    """Whether the hub's name leads to the machine.

    own: the addresses that the machine has; reached: those it is reached at. here, there: where the name leads, asked
    from this computer and from the machine.
    """
    seen, seen_there, told = _outer(here), _outer(there), _outer(reached) or own
    own = own | told
    if not seen and not seen_there:
        asked = kind in ("auto", "authority")
        need = "No authority gives a certificate for it, and nobody" if asked else "Nobody"
        remedy = f"an entry for it at your DNS, to {_listed(told)}"
        what = f"DNS does not know {name} ({here if isinstance(here, str) else 'loopback only'})"
        yield Finding("problem" if asked else "note", f"{what}. {need} finds the hub by it. Try: {remedy}")
    elif not seen:
        yield Finding(
            "note", f"{name} leads to {_listed(seen_there)} as {machine} sees it, and nowhere as seen from here"
        )
    elif seen & own:
        yield Finding("ok", f"{name} leads to {_listed(seen & own)}, which is {machine}")
    else:
        yield Finding(
            "note",
            f"{name} leads to {_listed(seen)}, and {machine} has {_listed(told)}. Right if an address translation or "
            "another web server there passes on what it gets; if not, correct the entry at your DNS",
        )


def _outer(found: Names) -> set[str]:
    """Without loopback: a machine's own name often leads there, and nobody else comes that way."""
    given = () if isinstance(found, str) else found
    return {address for address in given if not address.startswith("127.") and address != "::1"}


def _listed(addresses: set[str]) -> str:
    return ", ".join(sorted(addresses)) or "no address"


def certificate(config: Config, now: datetime | None = None) -> Iterator[Finding]:
    """The certificate and the key of one's own, if there are."""
    given = config.https
    if not isinstance(given, Https) or not (given.certificate and given.key and config.domain):
        return
    # Only here: what reads certificates takes its time to be imported.
    from hubfleet.certificates import check_pair

    now = now or datetime.now(timezone.utc)
    try:
        found = check_pair(given.certificate, given.key, config.domain, now=now, where=config.where("https"))
    except HubfleetError as error:
        yield Finding("problem", str(error))
        return
    name, days = given.certificate.name, int(found.days_left(now))
    if warning := found.warning(now):
        yield Finding("note", f"{name}: {warning}. Try: put a new one into its place, then hubfleet up")
    else:
        yield Finding("ok", f"{name} belongs to its key and is good for {days} days")


def listens(config: Config, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the machine has the address that it is to listen on."""
    address, own = config.listen.address, set(facts["addresses"])
    if config.https_kind == "off" and address not in own and not _anywhere(address):
        line = config.line("listen.address")
        remedy = f"{line}listen.address: one of {_listed(own)}, or 0.0.0.0"
        yield Finding("problem", f"the machine has no address {address}. Try: {remedy}")


def listens_at(config: Config, machine: str, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the hub's machine has the private address that an edge on another one is to come to."""
    settings = config.machines.get(machine)
    if settings and settings.private_ip and settings.private_ip not in facts["addresses"]:
        path = f"machines.{machine}.private_ip"
        remedy = f"{config.line(path)}{path}: one of {_listed(set(facts['addresses']))}"
        yield Finding("problem", f"{machine} has no address {settings.private_ip}. Try: {remedy}")


def linked(edge: str, hub: str, link: tuple[str, int], why: str, up: bool) -> Finding:
    """Whether the edge's machine reaches the hub's. ``why`` not, or ""; ``up``: something listens there already."""
    host, port = link
    there = f"{hub} at {host}, TCP port {port}"
    if ":" in host:  # where ssh connects to; a setting would have been refused
        remedy = f"machines.{hub}.private_ip: its IPv4 address"
        return Finding(
            "problem", f"{there} is IPv6, and the edge's container reaches others by IPv4 only. Try: {remedy}"
        )
    if not why:
        return Finding("ok", f"{edge} reaches {there}")
    if not up and why == _REFUSED:
        return Finding("ok", f"{edge} reaches {hub} at {host}; at TCP port {port} nothing listens yet")
    remedy = f"let {edge} through to that port, or name another address: machines.{hub}.private_ip"
    return Finding("problem", f"{edge} does not reach {there} ({why}). Try: {remedy}")


def _anywhere(address: str) -> bool:
    return address in ("0.0.0.0", "::", "::1") or address.startswith("127.")
