"""Whether machines can share homes by NFS: judged by what was asked of them beforehand. Pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from hubfleet.checks import Finding
from hubfleet.config import Config
from hubfleet.engines.base import Site
from hubfleet.resources.export import PORT, VERSION

CLIENT, SERVER = "nfs client", "nfs server"
"""What machines are for, beside their roles in the file, where homes are shared so."""
_NEEDED = {CLIENT: ("client", "a client"), SERVER: ("server", "a server")}
_REFUSED = os.strerror(errno.ECONNREFUSED)


def roles(config: Config, name: str | None) -> Set[str]:
    """Which of the two a machine is."""
    homes = config.storage.homes
    if homes is None or homes.share != "nfs":
        return set()
    client = {CLIENT} if name in config.worker_machines else set()
    return {*client, *({SERVER} if name == config.storage_machine else set())}


def target(config: Config, site: Site) -> tuple[str, int]:
    """Where the machine with the homes is asked for them."""
    return site.addresses[str(config.storage_machine)], PORT


def kernel(facts: Mapping[str, Any], wanted: Set[str]) -> Iterator[Finding]:
    """Whether a machine's kernel has what it takes."""
    for role in sorted(wanted & set(_NEEDED)):
        key, what = _NEEDED[role]
        there = facts["nfs"][key]
        if there is False:
            remedy = "apt install linux-image-amd64 and reboot, or another machine"
            yield Finding(
                "problem", f"its kernel has no {key} of NFS {VERSION}, by which homes are shared. Try: {remedy}"
            )
        elif there is None:
            yield Finding("note", f"whether its kernel has {what} of NFS cannot be seen; hubfleet up will tell")
        else:
            yield Finding("ok", f"its kernel has {what} of NFS")


def shared(
    looked: Iterable[tuple[str, Set[str], Mapping[str, Any]]], share: tuple[str, int] | None
) -> Iterator[Finding]:
    """Whether the machines that mount homes can do so. ``looked``: name, roles and facts of each, with in
    ``facts["share"]`` why it does not reach the one with the homes; ``share``: where that is, or None."""
    found = list(looked)
    if share is None:
        return
    storage, up = next((name, facts["listening"]) for name, roles, facts in found if SERVER in roles)
    mounting = {name: facts for name, roles, facts in found if CLIENT in roles}
    for name, facts in mounting.items():
        if name != storage:
            yield reached(name, storage, share[0], facts["share"], str(share[1]) in up)
    yield from names({name: facts["hostname"] for name, facts in mounting.items()})


def reached(machine: str, storage: str, host: str, why: str, up: bool) -> Finding:
    """Whether a machine reaches the one with the homes. ``why``: it does not, or ""; ``up``: something listens."""
    if not why:
        return Finding("ok", f"{machine} reaches {storage} at {host}:{PORT}, for homes")
    if not up and why == _REFUSED:
        return Finding("ok", f"{machine} reaches {storage} at {host}; at TCP port {PORT} nothing listens yet")
    remedy = f"let {machine} through to that port, or name another address: machines.{storage}.private_ip"
    return Finding("problem", f"{machine} does not reach {storage} at {host}:{PORT}, for homes ({why}). Try: {remedy}")


def names(hosts: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the machines that mount homes have names of their own: by these a server of NFS tells them apart, and
    would take one for the other that was restarted. ``hosts``: host names, by machine."""
    first: dict[str, str] = {}
    for machine, host in hosts.items():
        if first.setdefault(host, machine) != machine:
            what = f"{machine} and {first[host]} are both called {host}, and NFS would take one for the other"
            yield Finding("problem", f"{what}. Try: hostnamectl set-hostname {machine}, on {machine}, and reboot")
