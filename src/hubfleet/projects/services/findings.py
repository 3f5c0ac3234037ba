"""Mistakes in a configuration of project `services` that single settings do not show."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hubfleet.config.fields import did_you_mean
from hubfleet.projects.base import Finding
from hubfleet.projects.services.model import Published, Service, ServicesConfig


def findings(config: ServicesConfig) -> Iterator[Finding]:
    """Names that nothing has, circles, ports that two want, and directories that are not there."""
    if not config.services:
        yield ("services",), "there is no service", "services: {api: {image: nginx:1.27.2}}"
    for name, service in config.services.items():
        yield from _needs(config, name, service)
        yield from _role(config, name, service)
        yield from _paths(name, service)
    yield from _circles(config)
    yield from _twice(config)
    used = {secret for service in config.services.values() for secret in service.secrets}
    for secret in config.secrets:
        if secret not in used:
            yield ("secrets", secret), "no service may read it", f"secrets: [{secret}] for one, or remove it"


def _needs(config: ServicesConfig, name: str, service: Service) -> Iterator[Finding]:
    for index, needed in enumerate(service.depends_on):
        place = ("services", name, "depends_on", str(index))
        if needed not in config.services:
            yield place, f"no service `{needed}`{did_you_mean(needed, config.services)}", f"services: {{{needed}: ...}}"
        elif config.machine_of(needed) != config.machine_of(name):
            what = f"`{needed}` is on {config.machine_of(needed)}, and {name} on {config.machine_of(name)}"
            yield place, f"{what}: no machine waits for another's", "the same role, or no depends_on"
    for index, secret in enumerate(service.secrets):
        if secret not in config.secrets:
            what = f"no secret `{secret}`{did_you_mean(secret, config.secrets)}"
            yield ("services", name, "secrets", str(index)), what, f"secrets: {{{secret}: file}}, at the top"


def _role(config: ServicesConfig, name: str, service: Service) -> Iterator[Finding]:
    if len(config.machines) > 1 and service.role is None:
        yield ("services", name), "has no role, and there are several machines", "role: web"
    if service.role is None:
        return
    there = [machine for machine, one in config.machines.items() if service.role in one.roles]
    known = {role for one in config.machines.values() for role in one.roles}
    if not there:
        what = f"no machine has the role `{service.role}`{did_you_mean(service.role, known)}"
        yield ("services", name, "role"), what, f"roles: [{service.role}] for one of the machines"
    elif len(there) > 1:
        yield ("services", name, "role"), f"{' and '.join(there)} both have this role", "a role of one machine"


def _paths(name: str, service: Service) -> Iterator[Finding]:
    if service.build is not None and not (service.build / "Dockerfile").is_file():
        what = f"there is no Dockerfile in `{service.build.name}` beside this file"
        yield ("services", name, "build"), what, f"ls -l {service.build}"
    inside = sorted([*service.volumes.values(), *service.tmpfs, "/tmp"])
    for outer, path in pairwise(inside):
        if f"{path}/".startswith(f"{outer}/"):
            what = f"`{path}` is there twice" if path == outer else f"`{path}` is inside `{outer}`"
            yield ("services", name), what, "directories beside each other"


def _circles(config: ServicesConfig) -> Iterator[Finding]:
    """One for each circle, where it is first met."""
    told: set[frozenset[str]] = set()
    for name in config.services:
        path = _back(config, name, name, ())
        if path and frozenset(path) not in told:
            told.add(frozenset(path))
            words = " waits for ".join([*path, path[0]])
            yield ("services", name, "depends_on"), f"a circle: {words}", "take one of these out"


def _back(config: ServicesConfig, name: str, to: str, above: tuple[str, ...]) -> tuple[str, ...]:
    """The way by which a service leads back to `to`, or nothing."""
    for needed in config.services[name].depends_on:
        if needed == to:
            return (*above, name)
        if needed in config.services and needed not in (*above, name):
            found = _back(config, needed, to, (*above, name))
            if found:
                return found
    return ()


def _twice(config: ServicesConfig) -> Iterator[Finding]:
    """Ports of a machine that two want."""
    taken: dict[tuple[str, int], list[tuple[str, Published]]] = {}
    for name, service in config.services.items():
        for index, port in enumerate(service.ports):
            others = taken.setdefault((config.machine_of(name), port.port), [])
            every = "0.0.0.0"
            met = [
                who for who, other in others if every in (other.address, port.address) or other.address == port.address
            ]
            if met:
                yield ("services", name, "ports", str(index)), f"port {port.port} is {met[0]}'s already", "another port"
            others.append((name, port))
