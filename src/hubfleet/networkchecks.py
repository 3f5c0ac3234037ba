"""Whether people find the machine, and the machine what it needs: judged by what was asked beforehand."""

from __future__ import annotations

import errno
import functools
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hubfleet.agent.registry import ABSENT, REFUSED, SEALED, THERE, TROUBLE, UNTRUSTED, Reference
from hubfleet.agent.uv import find_uv
from hubfleet.checks import Finding, Level
from hubfleet.config import Config
from hubfleet.config.https import PUBLIC_AUTHORITY, Https, Kind
from hubfleet.errors import CheckError, HubfleetError

if TYPE_CHECKING:
    from hubfleet.certificates import Certificate

_USUAL_INDEX = re.compile(r"--default-index <\w+> [^<]*<(https?://[^>]+)>")
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
    provider, path = config.login.provider, f"login.{config.login.kind}"
    for address in provider.asked() if provider and hub else ():
        remedy = f"let the machine reach it, or correct {config.line(path)}{path}; without it nobody can log in"
        found.append(_of(address, "what vouches for people", "note", remedy))
    return found


def for_builds(config: Config, sources: Mapping[str, Sequence[str]]) -> list[Target]:
    """What is asked when images are built, where no setting names another way: that it answers is no condition, for
    images may be brought, and a base may have settings of its own.

    sources: what the machine's own tools ask, see `agent.sources.sources`.
    """
    network = config.network
    if network.proxy:
        return []
    remedy = "let the machine reach it, or name a network.proxy; without it images cannot be built there"
    found = [(address, "the source of Debian packages (apt)", remedy) for address in sources.get("apt", ())]
    found += [(address, "the registry of npm packages", remedy) for address in sources.get("npm", ())]
    if not network.package_index and (index := usual_index()):
        own = [name for address in sources.get("pip", ()) if (name := urlsplit(address).hostname)]
        mirror = f"network.package_index: the one at {own[0]}, which its own pip asks; or " if own else ""
        found.append((index, "the index of Python packages", f"{mirror}{remedy}"))
    made = [_of(address, use, "note", why) for address, use, why in found]
    return list({target.key: target for target in made if target.host}.values())


@functools.cache
def usual_index() -> str:
    """The index that Python packages come from where nobody names another: what installs them in builds knows it.

    "" if it does not say.
    """
    try:
        asked = [find_uv(), "pip", "install", "--help"]
    except HubfleetError:  # whoever installs hubfleet without it builds nothing on this machine
        return ""
    said = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
    found = _USUAL_INDEX.search(" ".join(said.split()))
    return found[1] if found else ""


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
        named = (f"{at}.image" for at, options in config.all_options().items() if options.image == image)
        setting = "hub_image" if image == config.hub_image else next(named, "base_image")
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


def registry(config: Config, said: Mapping[str, Sequence[str]], *, gives: bool, docker: bool) -> Iterator[Finding]:
    """Whether a machine may use the registry that the file names for the fleet's images: what is said of each image
    there. All of them go the same way, so one finding says it.

    gives: it is the machine that gives images to it. docker: it has Docker.
    """
    if not said:
        return
    image, (verdict, why) = min(said.items(), key=lambda one: one[1][0] in (THERE, ABSENT))
    at, setting = Reference.of(image), "network.fleet.registry"
    name, line = at.registry, config.line(setting)
    what = f"{config.network.fleet.registry}, by which images go from machine to machine,"
    if verdict in (THERE, ABSENT):
        yield Finding("ok", f"{what} {'takes them from here' if gives else 'is open to it'}")
    elif verdict == SEALED:
        yield Finding("problem", f"{what} cannot be used: {why}")
    elif verdict == REFUSED:
        first = "" if docker else "apt install docker.io there; "
        trusted = f"put its authority's certificate there as /etc/docker/certs.d/{name}/ca.crt; "
        first += trusted if config.network.ca_bundle else ""
        refuses = f"refuses {'to take' if gives else 'to give'} {at.repository} ({why})"
        yield Finding("problem", f"{what} {refuses}. Try: {first}docker login {name}, there, as root")
    elif verdict == UNTRUSTED:
        remedy = "name its authority's certificate: network: {ca_bundle: site-ca.crt}"
        yield Finding("problem", f"{what} shows a certificate that is not trusted there ({why}). Try: {remedy}")
    elif verdict == TROUBLE:
        remedy = f"see to it that it works, or correct {line}{setting}"
        yield Finding("problem", f"{what} does not answer as a registry does ({why}). Try: {remedy}")
    else:
        remedy = (
            f"let the machine reach it, correct {line}{setting}, or take that out for a registry of the fleet's own"
        )
        yield Finding("problem", f"{what} cannot be reached from there ({why}). Try: {remedy}")


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


def certificate(
    config: Config,
    now: datetime | None = None,
    shown: Callable[[], Certificate | None] = lambda: None,
    secrets: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Finding]:
    """The certificate and the key of one's own, if there are.

    shown: the certificate that people are shown now, or None; raises OSError if there is none to be seen. Where that is
    the very one that has expired, nothing gets worse by a deployment, and something else may be urgent.
    secrets: by name, where the two are among them. That one is missing, engines say.
    """
    if config.https_kind != "certificate" or not config.domain or set(config.https_secrets) - set(secrets):
        return
    # Only here: what reads certificates takes its time to be imported.
    from hubfleet.certificates import Expired

    now = now or datetime.now(timezone.utc)
    try:
        found = _own(config, secrets, now)
    except Expired as error:
        if _shown(shown) == error.certificate:
            state = "The hub has it already, and browsers refuse it"
            yield Finding("note", str(CheckError(error.what, where=error.where, state=state, remedy=error.remedy)))
        else:
            yield Finding("problem", str(error))
        return
    except HubfleetError as error:
        yield Finding("problem", str(error))
        return
    given, days = config.https, int(found.days_left(now))
    name = given.certificate.name if isinstance(given, Https) and given.certificate else config.https_secrets[0]
    if warning := found.warning(now):
        yield Finding("note", f"{name}: {warning}. Try: put a new one into its place, then hubfleet up")
    else:
        yield Finding("ok", f"{name} belongs to its key and is good for {days} days")


def _own(config: Config, secrets: Mapping[str, str], now: datetime) -> Certificate:
    """The certificate of one's own, once it is known to be good. Raises HubfleetError."""
    from hubfleet.certificates import check_pair, check_texts

    given, domain, where = config.https, str(config.domain), config.where("https")
    if isinstance(given, Https) and given.certificate and given.key:
        return check_pair(given.certificate, given.key, domain, now=now, where=where)
    certificate, key = ((name, secrets[name].encode()) for name in config.https_secrets)
    return check_texts(certificate, key, domain, now=now, where=where)


def _shown(ask: Callable[[], Certificate | None]) -> Certificate | None:
    try:
        return ask()
    except OSError:
        return None


def encryption(config: Config) -> Iterator[str]:
    """What anybody on the way could do, in a sentence; nothing where a certificate guards it, or nobody comes by it."""
    address, line = config.listen.address, config.line("https")
    if config.https_kind == "self-signed":
        what = "https: self-signed: browsers warn of the hub, as they would of somebody in its place"
        yield f"{line}{what}. Try: a domain, or https: {{certificate: hub.pem, key: hub.key}}"
    elif config.https_kind == "off" and not _loopback(address) and not config.listen.trusted_proxies:
        what = f"without HTTPS passwords and notebooks travel unencrypted to {address}:{config.listen.port}"
        own = "https: self-signed or a certificate"
        yield f"{line}{what}. Try: a domain, {own}, or listen.address: 127.0.0.1 behind a web server that has HTTPS"


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
    return address in ("0.0.0.0", "::") or _loopback(address)


def _loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")
