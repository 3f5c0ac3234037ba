"""Checks that single settings cannot make: names that refer to each other, and files that must exist.

They work on plain data, so that they run, and are reported, together with every other mistake of a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hubfleet.config.document import Place, dig, leaves
from hubfleet.config.fields import did_you_mean
from hubfleet.config.https import WORDS, is_address, is_public
from hubfleet.config.machines import FLEET, ROLES, SEVERAL
from hubfleet.config.owner import SERVICES
from hubfleet.config.paths import HOME
from hubfleet.units import Bytes, UnitError, parse_bytes

Finding = tuple[Place, str, str | None]
"""A place, what is wrong there, and what to write."""


def empty_values(data: dict[str, Any]) -> Iterator[Finding]:
    """Keys without a value."""
    for place, value in leaves(data):
        if value is None:
            yield place, "has no value", "write one, or remove the line"


def references(data: dict[str, Any]) -> Iterator[Finding]:
    """Names of groups that no group has."""
    groups = _at(data, "groups", dict)
    for key, profile in _at(data, "servers.profiles", dict).items():
        named = profile.get("groups") if isinstance(profile, dict) else None
        for index, name in enumerate(named if isinstance(named, list) else []):
            if isinstance(name, str) and name not in groups:
                place = ("servers", "profiles", key, "groups", str(index))
                what = f"no group `{name}`{did_you_mean(name, groups)}"
                yield place, what, f"groups: {{{name}: {{members: [...]}}}}"


def owners(data: dict[str, Any]) -> Iterator[Finding]:
    """Mounts that need a service which knows homes, and projects that have no place."""
    asked = _at(data, "storage.owner", dict)
    knows = any(asked.get(service) is not None for service in SERVICES)
    parts: dict[Place, Any] = {("storage", "mounts"): _at(data, "storage.mounts", list)}
    for kind in ("groups", "users"):
        for name, part in _at(data, kind, dict).items():
            parts[(kind, name, "storage", "mounts")] = _at(part, "storage.mounts", list)
            if (
                kind == "groups"
                and isinstance(part, dict)
                and part.get("project") is not None
                and not _at(data, "storage.projects", dict)
            ):
                remedy = "storage: {projects: {path: /corral/projects}}"
                yield (kind, name, "project"), "nobody has said where projects are", remedy
    for place, mounts in parts.items():
        for index, text in enumerate(mounts):
            if isinstance(text, str) and f"{{{HOME}}}" in text and not knows:
                what = f"{{{HOME}}} needs a service that knows it"
                yield (*place, str(index)), what, "storage: {owner: {tas: {url: ..., account: ...}}}"


def quotas(data: dict[str, Any]) -> Iterator[Finding]:
    """Limits of homes where hubfleet has no say, or larger than the disk that they are on."""
    homes = dig(data, ("storage", "homes"))
    homes = {} if homes is None else homes
    given: dict[Place, Any] = {}
    if isinstance(homes, dict):
        given[("storage", "homes", "quota")] = homes.get("quota")
    for kind in ("groups", "users"):
        for name, part in _at(data, kind, dict).items():
            given[(kind, name, "storage", "quota")] = dig(part, ("storage", "quota"))
    given = {place: value for place, value in given.items() if value is not None}
    if homes == "none":
        yield from ((place, "homes are not kept", "remove it, or storage: {homes: {quota: 10G}}") for place in given)
    if not isinstance(homes, dict):
        return
    if homes.get("share") == "mounted":
        for place in given:
            what = "homes are on a file system that is mounted from elsewhere, and its own machine has the quotas"
            yield place, what, "remove it, and have whoever runs that file system set them"
        if homes.get("disk") is not None:
            yield ("storage", "homes", "disk"), "another file system is mounted there", "remove it, or share: mounted"
        return
    disk = _size(homes.get("disk"))
    for place, value in given.items():
        if disk and (size := _size(value)) and size > disk:
            yield place, f"is more than storage.homes.disk has ({disk})", "a smaller quota, or a larger disk"


def _size(value: Any) -> Bytes | None:
    """A size; what is none has its own sentence."""
    try:
        return None if value is None else parse_bytes(value)
    except UnitError:
        return None


def machines(data: dict[str, Any]) -> Iterator[Finding]:
    """Machines without a role, roles that too many or too few have, and one machine under two names."""
    given = {name: machine for name, machine in _at(data, "machines", dict).items() if isinstance(machine, dict)}
    roles = {name: _at(machine, "roles", list) for name, machine in given.items()}
    if any(role not in ROLES for found in roles.values() for role in found):
        return  # which has its own sentence
    for name in given:
        if not roles[name] and (len(given) > 1 or "roles" in given[name]):
            yield ("machines", name), "has no role", "roles: [hub] or roles: [edge]"
    yield from _holders(roles)
    if all(roles.values()) and given and "hub" not in [role for found in roles.values() for role in found]:
        yield ("machines",), "no machine has the role `hub`", "roles: [hub] for one of them"
    for key in ("ssh", "private_ip"):
        first: dict[Any, str] = {}
        for name, machine in given.items():
            if isinstance(value := machine.get(key), str) and first.setdefault(value, name) != name:
                what = f"`{value}` is {first[value]}'s too"
                yield ("machines", name, key), what, "one machine with roles: [hub, edge], or another address"
    apart = any("edge" in found and "hub" not in found for found in roles.values())
    for name, machine in given.items():
        if machine.get("link_port") is not None and not (apart and "hub" in roles[name]):
            yield ("machines", name, "link_port"), "no edge on another machine comes in by it", "remove it"
    yield from _fleet(data, roles)


def _holders(roles: dict[str, list[str]]) -> Iterator[Finding]:
    """Roles that a machine has twice, or two machines that only one may have."""
    for role in ROLES:
        holders = [name for name, found in roles.items() for one in found if one == role]
        for place, name in enumerate(holders[1:], start=1):
            if name in holders[:place]:
                yield ("machines", name, "roles"), f"`{role}` is there twice", "once"
            elif role not in SEVERAL:
                what = f"`{role}` is what {holders[0]} is already"
                yield ("machines", name, "roles"), what, f"one machine with role {role}"


def _fleet(data: dict[str, Any], roles: dict[str, list[str]]) -> Iterator[Finding]:
    """What only engine swarm has, and what it cannot do without."""
    engine = data.get("engine")
    if engine != "swarm":
        for name, found in roles.items():
            for role in (role for role in found if role in FLEET):
                yield ("machines", name, "roles"), f"role {role} is for engine swarm", "engine: swarm, or no such role"
        for path in ("network.fleet", "storage.homes.share"):
            place = tuple(path.split("."))
            if dig(data, place) is not None:
                yield place, "is for engine swarm", "engine: swarm, or remove it"
    elif not roles:
        yield ("engine",), "engine swarm needs machines", "machines: {hub1: {ssh: ubuntu@203.0.113.10}}"
    elif all(roles.values()) and not any("worker" in found for found in roles.values()):
        yield ("machines",), "no machine has the role `worker`", "roles: [hub, worker] or roles: [worker]"


def encryption(data: dict[str, Any]) -> Iterator[Finding]:
    """Ways to a certificate that do not go with the name, and ports that do not go with HTTPS.

    What is no name or no word at all has its own sentence.
    """
    domain, https = data.get("domain"), data.get("https")
    kind = https if https is not None else "auto" if domain else "off"
    if isinstance(https, dict):
        kind = "certificate" if "certificate" in https else "authority" if "acme" in https else "auto"
    if kind not in (*WORDS, "certificate", "authority") or not isinstance(domain, str | None):
        return
    own = "a certificate"
    what = {"auto": "`auto`", "authority": "an authority", "certificate": own, "secrets": own}.get(str(kind))
    place = ("https",) if https is not None else ("domain",)
    if what and not domain:
        remedy = "domain: hub.example.edu" + ("" if what == own else ", or https: self-signed")
        yield place, f"{what} needs a name", remedy
    elif domain and kind in ("auto", "authority") and is_address(domain):
        yield place, f"{what} needs a name, and {domain} is an IP address", "https: self-signed"
    elif domain and kind == "auto" and "/" not in domain and not is_public(domain.lower()):
        remedy = "https: self-signed, or an authority of your own: https: {acme: https://...}"
        yield place, f"no public authority gives a certificate for {domain}", remedy
    listen = _at(data, "listen", dict)
    for key in ("address", "port") if kind != "off" else ():
        if listen.get(key) is not None:
            what = "with HTTPS the hub answers at ports 443 and 80 of every address"
            yield ("listen", key), what, "remove it, or https: off"


def named_files(data: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Every place where the configuration may name a file or a directory beside it, and which of the two."""
    yield ("storage", "homes", "skeleton"), "directory"
    for path in (
        "servers.requirements",
        "network.ca_bundle",
        "storage.owner.command",
        "https.certificate",
        "https.key",
        "https.ca_bundle",
        "login.allow.file",
    ):
        yield tuple(path.split(".")), "file"
    yield from ((("machines", name, "ssh_key"), "file") for name in _at(data, "machines", dict))


def files(data: dict[str, Any], base: Path) -> Iterator[Finding]:
    """Files and directories named in the configuration that are not on this machine, relative to `base`."""
    for place, kind in named_files(data):
        name, exists = dig(data, place), os.path.isdir if kind == "directory" else os.path.isfile
        if isinstance(name, str) and name and "\0" not in name and not exists(os.path.join(base, name)):
            yield place, f"`{name}` is not a {kind} beside this file", f"ls -l {base / name}"


def _at(data: Any, path: str, kind: type[Any]) -> Any:
    """The value at a dotted path, or an empty one when there is none of this kind."""
    found = dig(data, tuple(path.split(".")))
    return found if isinstance(found, kind) else kind()
