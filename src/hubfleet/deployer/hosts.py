"""Hosts of the files: those of a hub, with what they inherit, as machines."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Any

from hubfleet.config.document import Document, Place
from hubfleet.config.fields import did_you_mean
from hubfleet.config.machines import ROLES
from hubfleet.deployer.files import Files
from hubfleet.deployer.stanzas import Name, Written, levels, shown
from hubfleet.errors import ConfigError

HOSTS = "hosts"
KNOWN = ("ssh_host", "ssh_user", "ssh_key", "ssh_config", "private_ip", "roles", "host_id")
"""`ssh_config` is an addition of hubfleet's."""
FILES = ("ssh_key", "ssh_config")
IMPLIED = ("swarm_manager",)
"""Roles that Deployer gives by itself to who has the hub."""
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_WITH_PORT = re.compile(r"(?:ssh://)?(?:[^@:]+@)?(?P<host>[^@:\[\]]+|\[[0-9a-fA-F:]+\]):(?P<port>\d+)", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True)
class Host:
    """One host. ``said``: what holds for it, by key; ``place``: where its own entry stands."""

    name: str
    said: dict[str, Written]
    place: Written

    @property
    def roles(self) -> list[str]:
        given = self.said["roles"].value if "roles" in self.said else []
        return [str(role) for role in given if role not in IMPLIED] if isinstance(given, list) else []


def hosts_of(files: Files, name: Name, problems: list[ConfigError]) -> list[Host]:
    """The hosts of a hub: those of its project, instance and tenant. What one of them says itself wins over what its
    stanzas say; of two with the same id, the more local one."""
    document, before = files.hosts, len(problems)
    general: dict[str, Written] = {}
    own: dict[str, tuple[dict[str, Written], Written]] = {}
    for level, part in levels(document, name):
        for key, value in part.items():
            if key != HOSTS:
                general[key] = Written(value, document, (*level, key))
        problems += _unknown(document, level, part, (HOSTS,) if level else ())
        for entry in _entries(document, level, part, problems):
            said, place = _entry(entry, problems)
            if "host_id" in said:
                host = str(said["host_id"].text)
                own[host] = ({**own[host][0], **said} if host in own else said, place)
    found = [Host(host, _there({**general, **said}), place) for host, (said, place) in own.items()]
    if not found and len(problems) == before:
        what = f"no host for {shown(name)}"
        remedy = f"{shown(name)}: {{hosts: [{{host_id: hub1, ssh_host: 203.0.113.10, roles: [hub, worker]}}]}}"
        problems.append(ConfigError(what, where=document.file.name, remedy=remedy))
    return [host for host in found if not any(_problems(host, files, problems))]


def _there(said: dict[str, Written]) -> dict[str, Written]:
    """Without what an empty value has taken away."""
    return {key: written for key, written in said.items() if written.value is not None}


def _entries(document: Document, level: Place, part: dict[str, Any], problems: list[ConfigError]) -> Iterator[Written]:
    given = part.get(HOSTS)
    if given is None:
        return
    written = Written(given, document, (*level, HOSTS))
    if not level:
        what = f"{HOSTS}: belong to a stanza, which says whose they are"
        problems.append(ConfigError(what, where=written.where(), remedy="jupyterhub.prod: {hosts: [...]}"))
    elif not isinstance(given, list):
        remedy = "- host_id: hub1, and ssh_host, roles in the lines below"
        problems.append(ConfigError(f"{HOSTS}: must be a list", where=written.where(), remedy=remedy))
    else:
        yield from (Written(item, document, (*written.place, str(index))) for index, item in enumerate(given))


def _entry(written: Written, problems: list[ConfigError]) -> tuple[dict[str, Written], Written]:
    """What an entry of the list says."""
    if not isinstance(written.value, dict):
        what = f"{HOSTS}: a host is a map"
        problems.append(ConfigError(what, where=written.where(), remedy="- {host_id: hub1, ssh_host: 203.0.113.10}"))
        return {}, written
    problems += _unknown(written.document, written.place, written.value, ())
    said = {key: Written(value, written.document, (*written.place, key)) for key, value in written.value.items()}
    given = said.get("host_id")
    if given is None or given.value is None or not _ID.fullmatch(str(given.value)):
        what = "is required" if given is None else f"`{given.value}` is not the name of a host"
        where = (given or written).where()
        problems.append(ConfigError(f"host_id: {what}", where=where, remedy="letters, digits, `-` and `_`: hub1"))
        said.pop("host_id", None)
    return said, written


def _unknown(document: Document, level: Place, part: dict[str, Any], more: tuple[str, ...]) -> Iterator[ConfigError]:
    """Keys that look like a known one. Others are the operator's own, to tell hosts apart by."""
    for key in part:
        if key in KNOWN or key == HOSTS:
            continue
        if close := did_you_mean(key, (*KNOWN, *more)):
            where = Written(None, document, (*level, key)).where()
            yield ConfigError(f"`{key}`{close}", where=where, remedy=f"one of {', '.join(KNOWN)}")


def _problems(host: Host, files: Files, problems: list[ConfigError]) -> Iterator[bool]:
    """What is wrong with one host; the settings of machines judge the rest."""

    def wrong(key: str, what: str, remedy: str) -> bool:
        where = host.said[key].where() if key in host.said else host.place.where()
        problems.append(ConfigError(f"{key}: {what}", where=where, remedy=remedy))
        return True

    for key in ("ssh_host", "ssh_user", "private_ip", *FILES):
        given = host.said.get(key)
        if given is None and key == "ssh_host":
            yield wrong(key, f"{host.name} has none, and is not to be reached", "ssh_host: 203.0.113.10")
        elif given is not None and not (isinstance(given.value, str) and given.value.strip()):
            yield wrong(key, "must be text", f"{key}: ...")
    yield from _bad_address(host, wrong)
    folder = files.folder.resolve()
    for key in FILES:
        given = host.said.get(key)
        if given and isinstance(given.value, str) and files.beside(given.value) is None:
            yield wrong(key, f"`{given.value}` is not a file in {folder}", f"ls -l {folder / given.value}")
    given = host.said.get("roles")
    if given is not None and not isinstance(given.value, list):
        yield wrong("roles", "must be a list", "[hub] or [worker]")
    elif not host.roles:
        yield wrong("roles", f"{host.name} has none", "roles: [hub] or roles: [worker]")
    for role in host.roles:
        if role not in ROLES:
            yield wrong("roles", f"`{role}` is not a role{did_you_mean(role, ROLES)}", "hub or worker")


def _bad_address(host: Host, wrong: Callable[[str, str, str], bool]) -> Iterator[bool]:
    """What is an address for `ssh` elsewhere, and not here, where user and port have places of their own."""
    address, login = (host.said[key].value if key in host.said else None for key in ("ssh_host", "ssh_user"))
    if isinstance(login, str) and login.strip() and not _USER.fullmatch(login):
        yield wrong("ssh_user", f"`{login}` is not the name of an account", "ssh_user: ubuntu")
    if not isinstance(address, str) or not (address := address.strip()):
        return
    user, _, name = address.rpartition("@")
    if found := _WITH_PORT.fullmatch(address):
        lines = f"`Host {found['host'].strip('[]')}` and `Port {found['port']}`"
        yield wrong("ssh_host", f"`{address}` has a port", f"ssh_config: FILE, with {lines} in that file")
    elif user and login:
        yield wrong("ssh_host", f"`{address}` names a user, and ssh_user does so too", f"ssh_host: {name}")
    elif not (_is_ip(address) or (_NAME.fullmatch(name) and _USER.fullmatch(user or "root"))):
        remedy = "203.0.113.10, or a Host of the file that `ssh_config` names"
        yield wrong("ssh_host", f"`{address}` is neither an address nor the name of a host", remedy)


def _is_ip(address: str) -> bool:
    try:
        return isinstance(ip_address(address), IPv4Address) or set(address) <= set("0123456789abcdefABCDEF:")
    except ValueError:
        return False


def machine(host: Host, files: Files) -> dict[str, tuple[Any, str]]:
    """The settings of a machine, each with the key that it comes of."""
    address, user = str(host.said["ssh_host"].value).strip(), host.said.get("ssh_user")
    if ":" in address:
        address = f"[{address}]"
    found: dict[str, tuple[Any, str]] = {
        "ssh": (f"{user.value}@{address}" if user else address, "ssh_host"),
        "roles": (host.roles, "roles"),
    }
    if "private_ip" in host.said:
        found["private_ip"] = (host.said["private_ip"].value, "private_ip")
    for key in FILES:
        if key in host.said and (path := files.beside(str(host.said[key].value))):
            told = os.path.expanduser(str(host.said[key].value))
            beside = os.path.relpath(path, files.configs.file.resolve().parent)
            found[key] = (told if os.path.isabs(told) else beside, key)
    return found
