"""What could make a deployment on this machine fail, looked at before anything is changed."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from hubfleet.config import Config
from hubfleet.engines import engine
from hubfleet.engines.base import Site
from hubfleet.engines.disks import disks
from hubfleet.engines.mounted import mounted
from hubfleet.homes.projectquota import FileSystem
from hubfleet.homes.quotas import lacking
from hubfleet.units import Bytes

NEEDED_BYTES = 3 * 1024**3
SCARCE_MEMORY = 1024**3


Level = Literal["ok", "note", "problem"]
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Finding:
    """One check's result; ``text`` of a problem says what to type."""

    level: Level
    text: str


def failures(findings: list[Finding]) -> list[Finding]:
    """The findings that stand in the way."""
    return [finding for finding in findings if finding.level == "problem"]


def each(names: Mapping[str, object], ask: Callable[[str], _Answer]) -> dict[str, _Answer]:
    """What comes of it by name, asked of all at once. Raises what the first that fails raises."""
    with ThreadPoolExecutor(max_workers=max(1, len(names))) as beside:
        return dict(zip(names, beside.map(ask, names), strict=True))


def run_checks(config: Config, site: Site, *, own: frozenset[int], own_port: int | None) -> list[Finding]:
    """All checks for a hub on this machine. If it runs already: ``own``, its processes' ids, and ``own_port``."""
    return [
        Finding("ok", f"configuration of hub {config.hub}"),
        *_engine(config, site),
        *_interpreter(site),
        *_port(config, own, own_port),
        *_disk(site),
        *_memory(config),
        *places(config, os.path.isdir, Path("/proc/self/mountinfo").read_text(), "this machine"),
        *_homes(config, site),
    ]


def _engine(config: Config, site: Site) -> Iterator[Finding]:
    problems = engine(config.engine).problems(config, site)
    yield from (Finding("problem", problem) for problem in problems)
    if not problems:
        yield Finding("ok", f"engine {config.engine} can do what the configuration asks for")
    if site.layout.privileged:
        yield Finding("ok", "started by root: each user gets an own user id and sees only own files")
    else:
        yield Finding("note", "started without root: people on this hub are not isolated from each other")


def _interpreter(site: Site) -> Iterator[Finding]:
    if os.access(site.python, os.X_OK):
        yield Finding("ok", f"Python {site.python_version} at {site.python}")
    else:
        yield Finding("problem", f"{site.python} cannot be run. Try: make hubfleet's environment anew (make venv)")


def _port(config: Config, own: frozenset[int], own_port: int | None) -> Iterator[Finding]:
    address, port = config.listen.address, config.listen.port
    first = _first_open_port()
    if port < first:
        # Also for root: the proxy runs as an account of its own.
        yield Finding(
            "problem",
            f"port {port}: the proxy runs without privileges, and this machine keeps ports below {first} for root. "
            f"Try: listen: {{port: 8000}}, or sysctl net.ipv4.ip_unprivileged_port_start={port}",
        )
        return
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            yield from _taken(config, own, own_port, error)
            return
    yield Finding("ok", f"port {port} is free")
    if not ipaddress.ip_address(address).is_loopback:
        yield Finding("note", f"passwords travel unencrypted to {address}:{port}; put HTTPS in front of it")


def _first_open_port() -> int:
    """The first port that anybody may listen on."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except FileNotFoundError:
        return 1024


def _taken(config: Config, own: frozenset[int], own_port: int | None, error: OSError) -> Iterator[Finding]:
    port = config.listen.port
    name, pid = _holder(port)
    if pid in own or (pid is None and port == own_port):  # an ordinary user may not know who holds a port
        yield Finding("ok", f"port {port} is this hub's")
        return
    holder = f"{name} (pid {pid}) holds port {port}" if pid else f"port {port} is taken ({error.strerror})"
    yield Finding("problem", f"{holder}. Try: end it, or choose another: hubfleet up --port {port + 1}")


def _holder(port: int) -> tuple[str, int | None]:
    """Name and id of the process that listens on a port; no id when this account may not know."""
    import psutil  # only here: it takes its time to be imported

    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.pid
            if listening and tuple(connection.laddr)[1:2] == (port,):
                return Path(psutil.Process(connection.pid).exe()).name, connection.pid
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return "", None
    return "", None


def _disk(site: Site) -> Iterator[Finding]:
    place = _existing(site.layout.state)
    free = shutil.disk_usage(place).free
    text = f"{free / 1024**3:.1f} GB free for {site.layout.state}"
    if free < NEEDED_BYTES and not site.layout.environments.exists():
        yield Finding(
            "problem", f"{text}; the environments need about {NEEDED_BYTES // 1024**3} GB. Try: free some space"
        )
    else:
        yield Finding("ok", text)


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _memory(config: Config) -> Iterator[Finding]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    text = f"{total / 1024**3:.1f} GB memory"
    limit = config.servers.memory.limit
    if limit:
        text += f", enough for {total // limit} servers at their limit of {limit}"
    yield Finding("note" if total < SCARCE_MEMORY else "ok", text)


def _homes(config: Config, site: Site) -> Iterator[Finding]:
    usual = site.layout.homes
    place = config.homes(usual)
    if place is not None and site.layout.privileged:
        # Only here: it takes its time to be imported.
        from hubfleet.agent.facts import kernel_limits_projects

        free = shutil.disk_usage(_existing(place)).free
        table = Path("/proc/self/mountinfo").read_text()
        there = next(
            (os.stat(disk.file).st_size for disk in disks(config, site.layout) if os.path.exists(disk.file)), 0
        )
        yield from limited_homes(config, usual, table, kernel_limits_projects(), free, there)


def limited_homes(
    config: Config, usual: Path, table: str, kernel: bool | None, free: int, there: int
) -> Iterator[Finding]:
    """What limits of homes need of the machine that has them.

    ``table``: its mountinfo. ``kernel``: whether that has XFS with quotas. ``free``: bytes, where homes are. ``there``:
    bytes of the disk that is there already.
    """
    wanted, place = config.storage.homes, config.homes(usual)
    if wanted is None or place is None or wanted.share == "mounted":
        return
    limits = config.all_quotas()
    if wanted.disk is None:
        line = config.line(next(iter(limits))) if limits else ""
        if problem := lacking(place, table, line) if limits else "":
            yield Finding("problem", problem)
        elif limits:
            yield Finding("ok", f"{place} is on XFS with project quotas")
        return
    line = config.line("storage.homes.disk")
    if kernel is False:
        what = f"{line}its kernel has no XFS with quotas (CONFIG_XFS_QUOTA), which homes are limited by"
        yield Finding(
            "problem", f"{what}. Try: the distribution's usual kernel, or no storage.homes.disk and no quotas"
        )
    elif kernel is None:
        yield Finding("note", "whether its kernel has XFS with quotas cannot be seen; hubfleet up will tell")
    else:
        yield Finding("ok", "its kernel has XFS with quotas")
    if there > wanted.disk:
        what = f"{line}the disk of the homes has {Bytes(there)}, and is never made smaller"
        yield Finding("problem", f"{what}. Try: disk: {Bytes(there)}")
    if FileSystem.of(str(place), table).point != str(place) and free < wanted.disk:
        what = f"{line}homes may come to take {wanted.disk}, and {free / 1024**3:.0f} GB are free at {place.parent}"
        yield Finding("note", f"{what}: nobody can save when these are used up. Try: a smaller disk; it can grow later")


def shown_places(config: Config) -> dict[str, str]:
    """Directories that have to be there where servers are, by path, with the setting that says so.

    Of a path with a variable, the part before it.
    """
    found = {mount.fixed: setting for setting, mounts in config.all_mounts().items() for mount in mounts}
    if config.storage.projects is not None:
        found[config.storage.projects.path] = "storage.projects.path"
    return found


def places(config: Config, there: Callable[[str], bool], table: str, machine: str) -> Iterator[Finding]:
    """What servers are to be shown of a machine. ``there``: whether it has a directory. ``table``: its mountinfo."""
    for path in config.storage.must_be_mounted:
        if mounted(path, table):
            yield Finding("ok", f"{path} is mounted")
        else:
            line, remedy = config.line("storage.must_be_mounted"), "mount it, there"
            yield Finding("problem", f"{line}{path} is not mounted on {machine}. Try: {remedy}")
    for path, setting in shown_places(config).items():
        if there(path):
            yield Finding("ok", f"{path} is there to be mounted")
        else:
            remedy = "create it, or remove the mount"
            yield Finding("problem", f"{config.line(setting)}{path} is missing on {machine}. Try: {remedy}")
