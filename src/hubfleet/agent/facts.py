"""What this machine is and has: read at once, changing nothing."""

from __future__ import annotations

import ipaddress
import os
import platform
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hubfleet.agent.docker import Engine, installed, tool
from hubfleet.agent.opening import firewalls
from hubfleet.agent.swarm import recorded
from hubfleet.errors import HubfleetError

TOOLS = ("apt-get", "nft", "systemctl")
_LISTENING = "0A"
_STATE = ("/var/lib/hubfleet", "/var/lib")
"""The second where no hub has been yet."""


def facts() -> dict[str, Any]:
    """Name, system and its version, kernel, architecture, Python, the account we are; and what a deployment needs.

    sqlite: that Python can read databases. systemd: it is what runs services here. time: seconds since 1970, by this
    machine's clock. images_place: the directory that images are in, or will be. disk_free: bytes, there. state_free:
    bytes, where hubs' state is. memory: bytes in all.
    tools: of `TOOLS`, those that are there. docker: None, or version ("" if it does not run), live_restore, swarm (it
    is in one) and hubs (hubfleet made that for these).
    listening: by TCP port, name and pid of who listens there. ports: by port, the container that published it.
    addresses: the machine's own, without loopback. firewalls: those that let in only what is named.
    features: of the kernel, by name, whether it has them; None where that cannot be seen. nfs: the same of the kernel's
    client and server of NFS. quotas: of project quotas on XFS.
    """
    system = {}
    with open("/etc/os-release", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.strip().partition("=")
            system[name] = value.strip('"')
    docker = _docker()
    return {
        "hostname": platform.node(),
        "system": system.get("ID", ""),
        "version": system.get("VERSION_ID", ""),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "sqlite": find_spec("_sqlite3") is not None,
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "systemd": Path("/run/systemd/system").is_dir(),
        "time": time.time(),
        "disk_free": shutil.disk_usage(_there(docker["images_place"])).free,
        "state_free": shutil.disk_usage(next(place for place in _STATE if os.path.isdir(place))).free,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "tools": [name for name in TOOLS if tool(name)],
        "addresses": sorted(_addresses()),
        "features": _features(),
        "firewalls": firewalls(),
        "nfs": {"client": module("nfsv4"), "server": module("nfsd")},
        "quotas": kernel_limits_projects(),
        "listening": {str(port): holder for port, holder in _holders()},
        **docker,
    }


def _there(path: str) -> str:
    """The path, or what there is of it."""
    return path if os.path.exists(path) else _there(os.path.dirname(path))


def _addresses() -> Iterator[str]:
    """Its own IP addresses, but for loopback and what stays on one line."""
    trie = Path("/proc/net/fib_trie").read_text().splitlines()
    found = {line.split()[-1] for line, below in zip(trie, trie[1:]) if "|--" in line and "/32 host LOCAL" in below}
    yield from (address for address in found if not address.startswith("127."))
    inet6 = Path("/proc/net/if_inet6")
    for line in inet6.read_text().splitlines() if inet6.exists() else ():
        number, _, _, scope = line.split()[:4]
        if scope == "00":  # reachable from everywhere
            yield str(ipaddress.IPv6Address(int(number, 16)))


def _features() -> dict[str, bool | None]:
    """What containers and the firewall need of the kernel: loaded, or there to be loaded."""
    filesystems = Path("/proc/filesystems").read_text().split()
    return {
        "overlay": "overlay" in filesystems or module("overlay"),
        "nf_tables": module("nf_tables") or _tables(),
        "memory": _limits_memory(),
    }


def kernel_limits_projects() -> bool | None:
    """Whether the kernel has XFS with quotas; None where that cannot be seen."""
    if Path("/proc/fs/xfs").is_dir():
        return Path("/proc/fs/xfs/xqmstat").exists()
    if "xfs" not in Path("/proc/filesystems").read_text().split() and not (there := module("xfs")):
        return there
    settings = Path(f"/boot/config-{platform.release()}")
    return "CONFIG_XFS_QUOTA=y" in settings.read_text().split() if settings.exists() else None


def module(name: str) -> bool | None:
    """Whether a part of the kernel is there; None where the kernel's modules cannot be seen."""
    if Path(f"/sys/module/{name}").exists():
        return True
    folder = Path("/lib/modules") / platform.release()
    lists = [folder / which for which in ("modules.dep", "modules.builtin")]
    if not any(file.exists() for file in lists):
        return None
    return any(f"/{name}.ko" in file.read_text() for file in lists if file.exists())


def _tables() -> bool | None:
    """As nft says, where there is one."""
    nft = tool("nft")
    if nft is None:
        return None
    return subprocess.run([nft, "list", "tables"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def _limits_memory() -> bool | None:
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    if unified.exists():
        return "memory" in unified.read_text().split()
    table = Path("/proc/cgroups")
    for line in table.read_text().splitlines() if table.exists() else ():
        if line.startswith("memory\t"):
            return line.split()[-1] == "1"
    return None


def _docker() -> dict[str, Any]:
    engine, silent = Engine(), {"version": "", "live_restore": False, "swarm": False, "hubs": []}
    if not installed():
        return {"docker": None, "ports": {}, "images_place": _images_place()}
    try:
        if not engine.running():
            return {"docker": silent, "ports": {}, "images_place": _images_place()}
        told, containers = engine.get("/info"), engine.get("/containers/json")
    except HubfleetError:
        return {"docker": silent, "ports": {}, "images_place": _images_place()}
    swarm = told.get("Swarm", {}).get("LocalNodeState", "inactive") != "inactive"
    hubs = recorded(told["Swarm"]["NodeID"]) if swarm else []
    docker = {
        "version": told["ServerVersion"],
        "live_restore": told["LiveRestoreEnabled"],
        "swarm": swarm,
        "hubs": hubs,
    }
    ports = {
        str(port["PublicPort"]): entry["Names"][0].lstrip("/")
        for entry in containers
        for port in entry["Ports"]
        if "PublicPort" in port
    }
    return {"docker": docker, "ports": ports, "images_place": told["DockerRootDir"]}


def _images_place() -> str:
    """Where an engine that does not run has its images, by its settings; where one that is installed will have them."""
    from hubfleet.agent.dockerengine import data_root  # only here: one that runs says it itself

    return data_root()


def _holders() -> Iterator[tuple[int, dict[str, Any]]]:
    """Each TCP port that somebody listens on, with the name and id of one who does; 0 where that cannot be seen."""
    ports = dict(_sockets())
    owners = _owners(set(ports))
    for inode, port in ports.items():
        name, pid = owners.get(inode, ("somebody", 0))
        yield port, {"name": name, "pid": pid}


def _sockets() -> Iterator[tuple[str, int]]:
    """Inode and port of each listening socket."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING:
                yield fields[9], int(fields[1].rpartition(":")[2], 16)


def _owners(inodes: set[str]) -> dict[str, tuple[str, int]]:
    found = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            for descriptor in (process / "fd").iterdir():
                link = os.readlink(descriptor)
                if link.startswith("socket:[") and link[8:-1] in inodes:
                    found[link[8:-1]] = ((process / "comm").read_text().strip(), int(process.name))
        except OSError:
            continue  # it has ended, or is not ours to look at
    return found
