"""What a machine's facts say of a deployment there, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from hubfleet import networkchecks, sharechecks
from hubfleet.checks import Finding
from hubfleet.config import Config
from hubfleet.engines.base import Engine
from hubfleet.layout import ROOT_BASE

SYSTEMS = ("debian", "ubuntu")
NEEDED_BYTES = 6 * 1024**3
IMAGE_BYTES = 1024**3
"""For each image that is to be built, or fetched."""
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


def judged(
    config: Config, engine: Engine, facts: dict[str, Any], skew: float, roles: Set[str] = ALL, lacks: int = 0
) -> list[Finding]:
    """What a machine's facts say of it. ``skew``: seconds that its clock is ahead of the one here. ``lacks``: how many
    images are to be made there, as far as that is known. Pure."""
    return [
        *_system(facts),
        *_sqlite(facts),
        *_clock(skew),
        *_room(config, facts, roles, lacks),
        *_kernel(facts),
        *_firewalls(facts),
        *sharechecks.kernel(facts, roles),
        *_docker(config, facts, spans=engine.spans(config) and bool(roles & {"hub", "worker", "storage"})),
        *(networkchecks.listens(config, facts) if "edge" in roles else ()),
        *_ports(config, engine, facts, roles),
    ]


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


def _room(config: Config, facts: dict[str, Any], roles: Set[str], lacks: int) -> Iterator[Finding]:
    free, total, place = facts["disk_free"], facts["memory"], facts["images_place"]
    text = f"{free / 1024**3:.1f} GB free for images ({place})"
    needed = min(NEEDED_BYTES, lacks * IMAGE_BYTES) if facts["docker"] else NEEDED_BYTES
    if free < needed:
        what = f"for the {lacks} that are to be made" if facts["docker"] else "with Docker"
        more = ", or docker image prune" if facts["docker"] else ""
        need = f"about {needed // 1024**3} GB are needed {what}"
        yield Finding("problem", f"{text}; {need}. Try: free some space there{more}")
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


def _firewalls(facts: dict[str, Any]) -> Iterator[Finding]:
    for name in facts["firewalls"]:
        yield Finding("ok", f"its firewall is {name}")


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
    if part in away:
        return ("storage" if part == "homes" else "edge") in roles
    return "hub" in roles
