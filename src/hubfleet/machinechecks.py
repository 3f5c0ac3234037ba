"""What could make a deployment on a machine with containers fail, looked at before anything is changed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from hubfleet import networkchecks
from hubfleet.agent.outside import probe
from hubfleet.checks import Finding, places, shown_places
from hubfleet.config import Config
from hubfleet.engines.base import Engine, Site
from hubfleet.layout import ROOT_BASE
from hubfleet.machines import Machine
from hubfleet.resources import Directory, SharedDirectory
from hubfleet.resources.dockerengine import SOCKET
from hubfleet.unixhttp import Refused

SYSTEMS = ("debian", "ubuntu")
NEEDED_BYTES = 6 * 1024**3
NEEDED_MEMORY = 1024**3
FULL_BYTES = 20 * 1024**2
"""Less than a deployment writes down."""
MOST_SKEW_S = 300
OLDEST_ENGINE = (20, 10)
FEATURES = {
    "overlay": ("overlayfs, which images lie on", "apt install linux-image-amd64 and reboot, or another kernel"),
    "nf_tables": ("nf_tables, which limits what servers reach", "a kernel with CONFIG_NF_TABLES, and reboot"),
    "memory": (
        "memory controller for control groups, which limits are made with",
        "cgroup_enable=memory on the kernel's command line (GRUB_CMDLINE_LINUX, update-grub), and reboot",
    ),
}
"""Of the kernel, by the name in the facts: what is missed without it, and what to do."""
ALL = frozenset({"hub", "edge"})
"""What a machine can be for, where users' servers are on the hub's; with others there are workers, too."""


def run_machine_checks(
    config: Config, site: Site, machine: Machine, others: Mapping[str, Machine], engine: Engine
) -> list[Finding]:
    """All checks for a hub whose parts are containers, on ``machine`` and others.

    Raises UnreachableError where there is no way to one of them.
    """
    asked = [(machine, _roles(config, engine, config.hub_machine))]
    asked += [(there, roles) for name, there in others.items() if (roles := _roles(config, engine, name))]
    apart, port = len(asked) > 1, engine.link_port(config)
    link = (site.hub_address, port) if port else None
    with ThreadPoolExecutor() as beside:
        looks = [beside.submit(_look, config, engine, there, roles, link) for there, roles in asked]
        found = [look.result() for look in looks]
    findings = [
        Finding("ok", f"configuration of hub {config.hub}"),
        *_engine(config, site, engine),
        *networkchecks.certificate(config),
    ]
    for (there, _), (facts, seen) in zip(asked, found, strict=True):
        findings += [replace(one, text=f"{there.name}: {one.text}") for one in seen] if apart else seen
        if link and there is machine:
            findings += networkchecks.listens_at(config, machine.name, facts)
    for (there, roles), (facts, _) in zip(asked, found, strict=True):
        if not link or there is machine or "edge" not in roles:
            continue
        up = str(link[1]) in found[0][0]["listening"]
        findings.append(networkchecks.linked(there.name, machine.name, link, facts["link"], up))
    return findings


def _roles(config: Config, engine: Engine, name: str | None) -> frozenset[str]:
    """What a machine is for, with this engine."""
    away, hub = engine.elsewhere(config), config.hub_machine
    edge = {"edge"} if away.get("edge", hub) == name else set()
    worker = {"worker"} if engine.spans(config) and name in config.worker_machines else set()
    return frozenset({*({"hub"} if name == hub else set()), *edge, *worker})


def _look(
    config: Config, engine: Engine, machine: Machine, roles: Set[str], link: tuple[str, int] | None
) -> tuple[dict[str, Any], list[Finding]]:
    """Of one machine its facts and what is found; in ``facts["link"]`` why an edge there does not reach the hub's
    machine, or ""."""
    edge, name = "edge" in roles, config.domain
    with ThreadPoolExecutor() as beside:
        led = beside.submit(_leads, [one for one in (name, machine.address) if one and name and edge])
        before = time.time()
        facts = machine.facts()
        skew = facts["time"] - (before + time.time()) / 2
        missing = _missing(machine, config, facts, roles)
        lacking = [image for image, lacks in missing.items() if lacks]
        wanted = networkchecks.targets(config, edge=edge, hub="hub" in roles) if roles & ALL else []
        further = [link] if link and edge and "hub" not in roles else []
        targets = [*((one.host, one.port) for one in wanted), *further]
        seen = machine.probe([name] if name and edge else [], targets)
        bundle = config.network.ca_bundle
        said = machine.manifests(lacking, bundle.read_text() if bundle else "") if lacking else {}
        names = led.result()
    facts["link"] = next((seen["targets"][f"{host}:{port}"] for host, port in further), "")
    return facts, [
        Finding("ok", f"{machine.name} is reached as {facts['user']}, with Python {facts['python']}"),
        *judged(config, engine, facts, skew, roles),
        *(_places(config, machine) if "worker" in roles or ("hub" in roles and not engine.spans(config)) else ()),
        *(_shared_homes(config, machine) if roles & {"hub", "worker"} and engine.spans(config) else ()),
        *(_domain(config, machine, facts, names, seen["names"]) if edge else ()),
        *(Finding("ok", f"image {image} is there") for image, lacks in missing.items() if not lacks),
        *networkchecks.images(config, said, docker=bool(facts["docker"])),
        *networkchecks.outside(wanted, seen["targets"]),
    ]


def _leads(names: Iterable[str]) -> dict[str, networkchecks.Names]:
    """Where names lead as seen from here."""
    found: dict[str, networkchecks.Names] = probe(names, [])["names"]
    return found


def _domain(
    config: Config,
    machine: Machine,
    facts: dict[str, Any],
    here: Mapping[str, networkchecks.Names],
    there: Mapping[str, networkchecks.Names],
) -> Iterator[Finding]:
    if config.domain:
        name = config.domain
        yield from networkchecks.domain(
            name,
            config.https_kind,
            machine.name,
            own=set(facts["addresses"]),
            reached=here.get(machine.address, ()),
            here=here[name],
            there=there[name],
        )


def judged(config: Config, engine: Engine, facts: dict[str, Any], skew: float, roles: Set[str] = ALL) -> list[Finding]:
    """What a machine's facts say of it. ``skew``: seconds that its clock is ahead of the one here. Pure."""
    return [
        *_system(facts),
        *_sqlite(facts),
        *_clock(skew),
        *_room(config, facts, roles),
        *_kernel(facts),
        *_docker(config, facts, spans=engine.spans(config) and bool(roles & {"hub", "worker"})),
        *(networkchecks.listens(config, facts) if "edge" in roles else ()),
        *_ports(config, engine, facts, roles),
    ]


def _places(config: Config, machine: Machine) -> list[Finding]:
    """What servers there are to be shown of it."""
    wanted = [Directory(path) for path in shown_places(config)]
    if not wanted and not config.storage.must_be_mounted:
        return []
    seen = machine.observe(wanted)
    found = {one.path for one in wanted if (seen[one.id] or {}).get("type") == "directory"}
    table = machine.store.read("/proc/self/mountinfo") or ""
    return list(places(config, found.__contains__, table, machine.name))


def _shared_homes(config: Config, machine: Machine) -> Iterator[Finding]:
    """Whether what is to be shared is on a file system of its own; which it is, `up` sees on all machines."""
    homes = config.storage.homes
    if homes is None or homes.share is None or homes.path is None:
        return
    place = SharedDirectory(str(homes.path), "", "")
    found = machine.observe([place])[place.id]
    if found is None:
        yield Finding("problem", f"{homes.path} is missing. Try: mount there what all machines share")
    elif not found["mounted"]:
        what = f"{homes.path} is on the machine's own disk, and its files would be on no other machine"
        yield Finding("problem", f"{what}. Try: mount there what all machines share")
    else:
        yield Finding("ok", f"{homes.path} is a file system of its own ({found['source']})")


def _engine(config: Config, site: Site, engine: Engine) -> Iterator[Finding]:
    problems = engine.problems(config, site)
    yield from (Finding("problem", problem) for problem in problems)
    if not problems:
        yield Finding("ok", f"engine {config.engine} can do what the configuration asks for")


def _system(facts: dict[str, Any]) -> Iterator[Finding]:
    name = f"{facts['system']} {facts['version']} ({facts['architecture']}, Linux {facts['kernel']})"
    if "apt-get" in facts["tools"]:
        yield Finding("ok" if facts["system"] in SYSTEMS else "note", name)
    elif facts["docker"]:
        yield Finding("note", f"{name}: not tried there, but Docker is installed")
    else:
        yield Finding("problem", f"{name} has no apt-get. Try: install Docker there, or use Debian or Ubuntu")
    if not facts["systemd"]:
        yield Finding("note", "no systemd: what users may reach is not limited again after a reboot until hubfleet up")


def _sqlite(facts: dict[str, Any]) -> Iterator[Finding]:
    if not facts["sqlite"]:
        yield Finding(
            "note",
            "its Python has no sqlite3: the hub's database is not copied before changes, and a rollback cannot look at "
            "it. Try: install Python's module sqlite3 there, from its distribution",
        )


def _clock(skew: float) -> Iterator[Finding]:
    if abs(skew) < MOST_SKEW_S:
        yield Finding("ok", f"its clock differs by {abs(skew):.0f} s from here")
    else:
        way = "ahead of" if skew > 0 else "behind"
        yield Finding(
            "problem",
            f"its clock is {abs(skew):.0f} s {way} the one here; logins and certificates would fail. "
            "Try: timedatectl set-ntp true, there",
        )


def _room(config: Config, facts: dict[str, Any], roles: Set[str]) -> Iterator[Finding]:
    free, total = facts["disk_free"], facts["memory"]
    text = f"{free / 1024**3:.1f} GB free for images and state"
    if free < NEEDED_BYTES and not facts["docker"]:
        yield Finding("problem", f"{text}; about {NEEDED_BYTES // 1024**3} GB are needed. Try: free some space")
    else:
        yield Finding("ok" if free >= NEEDED_BYTES else "note", text)
    if facts["state_free"] < FULL_BYTES:
        room = f"{facts['state_free'] // 1024**2} MB are free for homes and the hub's own files"
        yield Finding("problem", f"{room}: its disk is full. Try: free some space below {ROOT_BASE} there")
    text = f"{total / 1024**3:.1f} GB memory"
    if (limit := config.servers.memory.limit) and "hub" in roles:
        text += f", enough for {total // limit} servers at their limit of {limit}"
    yield Finding("note" if total < NEEDED_MEMORY else "ok", text)


def _kernel(facts: dict[str, Any]) -> Iterator[Finding]:
    lacks = [name for name, there in facts["features"].items() if there is False]
    for name in lacks:
        yield Finding("problem", f"its kernel has no {FEATURES[name][0]}. Try: {FEATURES[name][1]}")
    unknown = [FEATURES[name][0] for name, there in facts["features"].items() if there is None]
    if unknown:
        yield Finding("note", f"whether its kernel has {' and '.join(unknown)} cannot be seen; hubfleet up will tell")
    elif not lacks:
        yield Finding("ok", "its kernel has what containers and the firewall need")


def _docker(config: Config, facts: dict[str, Any], *, spans: bool) -> Iterator[Finding]:
    """``spans``: it is to be one of a swarm."""
    docker = facts["docker"]
    if not docker:
        yield Finding("ok", "Docker is not there; the distribution's is installed")
        return
    if not docker["version"]:
        yield Finding("note", "Docker is installed and does not run; it is started")
        return
    version = tuple(int(part) for part in docker["version"].split(".")[:2] if part.isdigit())
    if version < OLDEST_ENGINE:
        wanted = ".".join(map(str, OLDEST_ENGINE))
        yield Finding("problem", f"Docker {docker['version']} is too old. Try: install {wanted} or newer there")
    elif spans:
        has = "off" if not docker["live_restore"] else "switched off; from then on a restart of Docker ends containers"
        yield Finding(
            "ok" if not docker["live_restore"] else "note", f"Docker {docker['version']}, live-restore is {has}"
        )
    elif docker["swarm"] and docker["hubs"] == [config.hub]:
        yield Finding("note", f"Docker {docker['version']} is in this hub's swarm, which it leaves")
    elif docker["swarm"]:
        yield Finding(
            "problem",
            "Docker is in Swarm mode, which ends all containers when Docker restarts. Try: docker swarm leave, there",
        )
    else:
        keeps = "on" if docker["live_restore"] else "off; it is switched on, which disturbs no container"
        yield Finding("ok", f"Docker {docker['version']}, live-restore is {keeps}")


def _ports(config: Config, engine: Engine, facts: dict[str, Any], roles: Set[str]) -> Iterator[Finding]:
    away, called = engine.elsewhere(config), engine.containers(config)
    wanted = {part: ports for part, ports in engine.ports(config).items() if _on(part, away, roles)}
    ours = {*called.values(), *engine.doors(config.hub)}
    for part, port in ((part, port) for part, ports in wanted.items() for port in ports):
        holder, name = facts["listening"].get(str(port)), facts["ports"].get(str(port), "")
        if holder is None:
            yield Finding("ok", f"port {port} is free")
        elif name == called[part]:
            yield Finding("ok", f"port {port} is this hub's")
        elif name in ours:
            setting = "listen.port" if part == engine.door else f"machines.{config.hub_machine}.link_port"
            goes = f"{name} holds port {port}, and goes on until {called[part]} runs, which is to have it"
            yield Finding("problem", f"{goes}. Try: {config.line(setting)}{setting}: another port")
        else:
            who = f"container {name}" if name else f"{holder['name']} (pid {holder['pid']})"
            yield Finding("problem", f"{who} holds port {port}. Try: end it, or choose another port")


def _on(part: str, away: Mapping[str, str], roles: Set[str]) -> bool:
    """Whether a part is on a machine with these roles."""
    return "edge" in roles if part in away else "hub" in roles


def _missing(machine: Machine, config: Config, facts: dict[str, Any], roles: Set[str]) -> dict[str, bool]:
    """The images that ours are built on, and whether each is missing there."""
    servers = [config.servers.image or config.base_image] if "hub" in roles else []
    wanted = dict.fromkeys([config.base_image, *servers]) if roles & ALL else {}
    return {image: not (facts["docker"] and _present(machine, image)) for image in wanted}


def _present(machine: Machine, image: str) -> bool:
    try:
        machine.request(SOCKET, "GET", f"/images/{image}/json", None, None, 30)
    except (Refused, FileNotFoundError, ConnectionRefusedError):
        return False
    return True
