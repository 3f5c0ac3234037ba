"""What the engine is told of a container."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Any

from hubfleet.errors import ApplyError
from hubfleet.resources.container import Container

FINGERPRINT = "hubfleet.fingerprint"
"""The label that tells our containers from others, and their versions from each other."""
_LOG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
_SECOND = 1_000_000_000
_CHECK = {"Timeout": 10 * _SECOND, "Retries": 3, "StartPeriod": 60 * _SECOND}
_CHECK_EVERY_S = 20
_CHECK_SOON_S = 5  # where a start waits for its result


def specification(container: Container) -> dict[str, Any]:
    """The body of the request that makes it. Raises ApplyError for accounts and groups that are not there."""
    user, groups = numbers(container)
    return {
        "Image": container.image,
        "Entrypoint": list(container.argv) or None,
        "Cmd": [],
        "Env": [f"{name}={value}" for name, value in sorted(container.environment.items())],
        "WorkingDir": container.directory,
        "User": user,
        "Labels": {FINGERPRINT: container.fingerprint},
        "Hostname": container.hostname,
        "StopSignal": container.stop_signal or "SIGTERM",
        "StopTimeout": container.stop_grace,
        "ExposedPorts": {f"{inner}/tcp": {} for _, _, inner in container.ports},
        "Healthcheck": _health(container),
        "HostConfig": _host(container, groups),
        "NetworkingConfig": {
            "EndpointsConfig": {
                name: endpoint(address) for name, address in container.networks if name == container.network
            }
        },
    }


def endpoint(address: str) -> dict[str, Any]:
    """How a container is on a network: at that address, or where the engine likes."""
    return {"IPAMConfig": {"IPv4Address": address} if address else {}}


def further(container: Container) -> list[tuple[str, dict[str, Any]]]:
    """The networks that it is put on after it was made, and how: the engine takes one only when it makes it."""
    return [(name, endpoint(address)) for name, address in container.networks if name != container.network]


def _health(container: Container) -> dict[str, Any]:
    if not container.health:
        return {"Test": ["NONE"]}
    every = _CHECK_EVERY_S if container.ready else _CHECK_SOON_S
    return {"Test": ["CMD", *container.health], "Interval": every * _SECOND, **_CHECK}


def numbers(container: Container) -> tuple[str, list[str]]:
    """`uid:gid` of its account, and the numbers of its further groups: images know nothing of the machine's names.

    Raises ApplyError for a name that is not there.
    """
    try:
        entry = pwd.getpwnam(container.user) if container.user else None
        groups = [str(grp.getgrnam(name).gr_gid) for name in container.groups]
    except KeyError as error:
        raise ApplyError(f"{container.name}: {error.args[0]}") from error
    return (f"{entry.pw_uid}:{entry.pw_gid}" if entry else "0:0"), groups


def _host(container: Container, groups: list[str]) -> dict[str, Any]:
    bound: dict[str, list[dict[str, str]]] = {}
    for address, port, inner in container.ports:
        bound.setdefault(f"{inner}/tcp", []).append({"HostIp": address, "HostPort": str(port)})
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    mounts = [
        {
            "Type": "bind",
            "Source": source,
            "Target": target,
            "ReadOnly": access != "rw",
            "BindOptions": {"Propagation": propagation(os.path.realpath(source), table)},
        }
        for source, target, access in container.mounts
    ]
    return {
        "Init": True,  # ends what its program leaves behind, and passes signals on
        "GroupAdd": groups,
        "Mounts": mounts,
        "Tmpfs": {path: f"size={size}" for path, size in container.tmpfs},
        "NetworkMode": container.network,
        "PortBindings": bound,
        "CapDrop": ["ALL"],
        "CapAdd": list(container.capabilities),
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": container.read_only,
        "Memory": container.memory,
        "MemorySwap": container.memory,
        "PidsLimit": container.processes or None,
        "RestartPolicy": {"Name": "always"},
        "LogConfig": _LOG,
    }


def propagation(source: str, table: str) -> str:
    """Whether a container sees what is mounted below `source` later: "rslave", or "rprivate" where that is impossible.

    table: the machine's mountinfo. An engine refuses "rslave" for what the machine does not share with anybody.
    """
    shared: dict[str, bool] = {}
    for line in table.splitlines():
        fields = line.split()
        shared[fields[4]] = any(word.startswith(("shared:", "master:")) for word in fields[6 : fields.index("-")])
    around = [place for place in shared if f"{source}/".startswith(f"{place.rstrip('/')}/")]
    return "rslave" if around and shared[max(around, key=len)] else "rprivate"
