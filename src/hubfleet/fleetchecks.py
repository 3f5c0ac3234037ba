"""Whether the machines of a fleet have the addresses they are to meet at, reach each other there, and can encrypt what
they say: looked at, and tried."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from hubfleet.checks import Finding, each
from hubfleet.config import Config
from hubfleet.engines.base import Engine, Site
from hubfleet.machines import Machine
from hubfleet.resources import Opening
from hubfleet.resources.opening import ports, said

_LET_THROUGH = "let that through between them, such as in the security groups of a cloud"
_NOT_TRANSLATED = (
    "have nothing translate addresses between them (masquerading, NAT), or give each, as private_ip, its address in a "
    "network where nothing does"
)
_ENCRYPTION = "what containers on different machines say to each other is to be encrypted"


def fleet(
    config: Config,
    site: Site,
    engine: Engine,
    machines: Mapping[str, Machine],
    facts: Mapping[str, Mapping[str, Any]],
) -> list[Finding]:
    """All of it; nothing where the engine has users' servers on one machine. ``facts``: of each machine."""
    members = _members(config, engine, machines)
    wanted = members if config.network.fleet.encrypted else {}
    encrypts = each(wanted, lambda name: wanted[name].encrypts())
    strange = list(meet(config, site.addresses, {name: facts[name]["addresses"] for name in members}))
    # What is said to an address that is nobody's arrives nowhere, which says nothing of the ways.
    return [*strange, *_encryption(config, encrypts), *([] if strange else reached(config, site, engine, machines))]


def reached(config: Config, site: Site, engine: Engine, machines: Mapping[str, Machine]) -> list[Finding]:
    """Whether its machines reach each other; see `ways`."""
    members = _members(config, engine, machines)
    return ways(engine.openings(config, site), site.addresses, members) if members else []


def _members(config: Config, engine: Engine, machines: Mapping[str, Machine]) -> dict[str, Machine]:
    """Those that are to be brought together; none where the engine has users' servers on one machine."""
    together = config.swarm_machines if engine.spans(config) and config.machines else ()
    return {name: machines[name] for name in together}


def meet(config: Config, wanted: Mapping[str, str], has: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Problems of machines that have not the address at which the others are to find them: a swarm's engine takes
    none but IPv4 addresses of its own. Pure.

    ``wanted``: by name where it is looked for. ``has``: by name of each member the addresses it has; those that
    another one has too (bridges of containers) distinguish nobody.
    """
    for name, addresses in has.items():
        others = {address for other, its in has.items() if other != name for address in its}
        own = sorted({one for one in addresses if ip_address(one).version == 4} - others)
        if wanted[name] in own:
            continue
        given, path = config.machines[name].private_ip, f"machines.{name}.private_ip"
        what = f"{name} has no IPv4 address {wanted[name]} of its own"
        where = "" if given else ", which is where ssh connects to: the others are to find it at one that it has"
        choice = f"one of {', '.join(own)}" if own else "an IPv4 address, which it has to be given first"
        yield Finding("problem", f"{what}{where}. Try: {config.line(path) if given else ''}{path}: {choice}")


def _encryption(config: Config, found: Mapping[str, bool | None]) -> Iterator[Finding]:
    another = (
        "apt install linux-image-amd64 and reboot, there (or another kernel with CONFIG_INET_ESP, CONFIG_CRYPTO_GCM)"
    )
    plain = f"{config.line('network.fleet')}network: {{fleet: {{encrypted: false}}}}"
    remedy = f"{another}; or, where nobody else is on the wire, {plain}"
    for name, can in found.items():
        if can is False:
            yield Finding(
                "problem", f"{name}: {_ENCRYPTION}, and its kernel has no ESP with AES-GCM for that. Try: {remedy}"
            )
        elif can is None:
            yield Finding("note", f"{name}: {_ENCRYPTION}; hubfleet up will tell whether its kernel can")
        else:
            yield Finding("ok", f"{name}: its kernel can encrypt what passes between machines")


def ways(
    openings: Mapping[str, Opening], addresses: Mapping[str, str], machines: Mapping[str, Machine]
) -> list[Finding]:
    """Whether each reaches the others where it has to. Where a machine's own firewall is in the way, that is opened by
    `up`, and the way is not tried before."""
    wanted = {name: openings[name] for name in machines if name in openings and openings[name].ways}
    observed = each(wanted, lambda name: machines[name].observe([wanted[name]])[wanted[name].id] or {"firewalls": {}})
    closed = {name: missing for name in wanted if (missing := wanted[name].missing(observed[name]))}
    findings = [
        Finding("ok", f"{name}: {firewall} is its firewall, which hubfleet up has let in {said(lacks)}")
        for name, missing in closed.items()
        for firewall, lacks in missing.items()
    ]
    names = {addresses[name]: name for name in machines}
    tried = {name: opening for name, opening in wanted.items() if name not in closed}
    for name, lost in _tried(tried, addresses, machines, names).items():
        active = [firewall for firewall, one in observed[name]["firewalls"].items() if one["active"]]
        own = f"{' and '.join(active)} of its own lets them through" if active else "it has no firewall of its own"
        for source, whats in lost.items():
            stops = f"{names[source]} ({source}) does not reach {name} ({addresses[name]}) at {ports(whats)}"
            why, remedy = f"{own}, so something on the way stops it", _LET_THROUGH
            if instead := " and ".join(sorted({one for one in whats.values() if one})):
                why, remedy = f"what it sends comes as from {instead}", _NOT_TRANSLATED
            findings.append(Finding("problem", f"{stops}: {why}. Try: {remedy}"))
        if not lost:
            all_of_it = {what for _, what in wanted[name].ways}
            findings.append(Finding("ok", f"{name}: the others reach it at {ports(all_of_it)}"))
    return findings


def _tried(
    openings: Mapping[str, Opening],
    addresses: Mapping[str, str],
    machines: Mapping[str, Machine],
    names: Mapping[str, str],
) -> dict[str, dict[str, dict[str, str]]]:
    """By machine and sender's address, what has not arrived, and from where it came instead ("": it did not).

    All at once: they listen, then all send.
    """
    mark = f"hubfleet {secrets.token_hex(8)}"
    calls: dict[str, list[tuple[str, str]]] = {}
    for name, opening in openings.items():
        for source, what in opening.ways:
            calls.setdefault(names[source], []).append((addresses[name], what))
    each(openings, lambda name: machines[name].listen(mark))
    each(calls, lambda name: machines[name].call(mark, addresses[name], calls[name]))
    missing = each(openings, lambda name: machines[name].heard(openings[name].ways))
    found: dict[str, dict[str, dict[str, str]]] = {name: {} for name in openings}
    for name, lacks in missing.items():
        for source, what, *instead in lacks:
            found[name].setdefault(source, {})[what] = "".join(instead)
    return found
