"""What a server's service is to be: the body of the manager's ``create``, from settings, request and options. Pure."""

from __future__ import annotations

import hashlib
import json
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from hubfleet.config.effective import Effective
from hubfleet.config.owner import IdRange, Owner
from hubfleet.engines.contained import (
    FOLDER_BYTES,
    HUB_LABEL,
    LOG_SIZE,
    PROCESSES,
    SERVER_LABEL,
    environment,
    room,
)
from hubfleet.engines.fullhome import when_full
from hubfleet.engines.projectlock import refused
from hubfleet.engines.swarm.places import name_of
from hubfleet.engines.swarm.showing import Bind
from hubfleet.engines.uids import USUAL
from hubfleet.launcher.base import Request
from hubfleet.layout import Layout
from hubfleet.resources.dockerengine import SOCKET

ARGUMENTS = ("--KernelManager.transport=ipc",)
"""Every server's. Kernels talk to it over Unix sockets in a private directory: their TCP ports would be open to every
program in the container."""

FILES = 1024
"""How many files a program of a server may have open unless it asks for more: as a shell has it. How many more is its
machine's to say."""

ENTER_LIMIT_S = 30.0
"""How long a server's first program tries to get to the launcher, by a network whose rules are in force."""

GRACE_S = 10.0
"""After this long a server that was told to end is killed. A service that exists cannot be given another time."""

PROGRAM = "/run/secrets/hubfleet"
"""Where a server's first program finds what to become: in memory, for its user only."""

SCRATCH = ("/var/tmp", "/run/lock")
"""Where everybody on a machine may write, beside /tmp: each server gets its own, in memory."""
RUN_USER = "/run/user"

ROOM_WAIT_S = 5.0
"""How long a start waits for a machine with room, unless servers are just being stopped."""

HomesKind = Literal["mounted", "nfs", "none"]


@dataclass(frozen=True)
class Address:
    """Where something listens in the fleet's network."""

    address: str
    port: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Address:
        return cls(data["address"], data["port"])


@dataclass(frozen=True)
class HomesPlace:
    """Where homes are. ``mounted``: at ``path`` on every machine. ``nfs``: at ``path`` of the machine ``server``, which
    each machine mounts by itself with ``options``. ``none``: in the server's memory, and gone with it."""

    kind: HomesKind
    path: str
    server: str
    options: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HomesPlace:
        """Raises ValueError for a kind that is none of them."""
        if data["kind"] not in get_args(HomesKind):
            raise ValueError(f"homes cannot be {data['kind']!r}")
        kind = cast(HomesKind, data["kind"])
        return cls(kind, data.get("path") or "", data.get("server") or "", data.get("options") or "")


@dataclass(frozen=True)
class Settings:
    """The engine's part of ``launcher.json``.

    ``image``: of users' servers, with their Python environment at ``python``; every machine can pull it, or has it.
    ``images``: those of servers that are to be built on another one than everybody's, by that.
    ``network``: the fleet's, in which servers listen at ``server_port``. ``door``: where the launcher listens for
    them. ``probe``: where a server must not get an answer once the rules that keep servers apart are in force; None
    where there are none. ``placement``: what a machine must be to run servers, in the engine's words. ``hub_gid``,
    ``keeper``, ``variables``, ``host_root``, ``engine_socket``: as engine ``docker`` has them. ``room_wait``: see
    `ROOM_WAIT_S`, in seconds.
    """

    layout: Layout
    image: str
    python: str
    network: str
    door: Address
    probe: Address | None
    server_port: int
    homes: HomesPlace
    placement: tuple[str, ...]
    keeper: Mapping[str, Any] | None
    hub_gid: int
    variables: Mapping[str, str]
    host_root: str
    engine_socket: str
    room_wait: float
    ids: IdRange = USUAL
    images: Mapping[str, str] = field(default_factory=dict)

    def image_of(self, effective: Effective) -> str:
        """The image of a server."""
        return self.images.get(effective.image or "", self.image)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Settings:
        # In a container the host's accounts have no names.
        group = data["hub_gid"] if data.get("hub_gid") is not None else pwd.getpwnam(data["hub_account"]).pw_gid
        return cls(
            Layout(data["hub"], Path(data["base"]), data["privileged"]),
            image=data["image"],
            python=data["python"],
            network=data["network"],
            door=Address.from_json(data["door"]),
            probe=Address.from_json(data["probe"]) if data.get("probe") else None,
            server_port=data.get("server_port", 8888),
            homes=HomesPlace.from_json(data["homes"]),
            placement=tuple(data.get("placement", ())),
            keeper=data["keeper"],
            hub_gid=group,
            variables=data["variables"],
            host_root=data.get("host_root", ""),
            engine_socket=data.get("engine_socket", SOCKET),
            room_wait=data.get("room_wait", ROOM_WAIT_S),
            ids=IdRange(*data["ids"]) if "ids" in data else USUAL,
            images=data.get("images", {}),
        )


@dataclass(frozen=True)
class Server:
    """One server as it is to be: its id, its user's system name, and who owns the user's files.

    ``binds``: the home, where it is a directory of every machine, and the mounts. ``seen``: by its place inside, the
    inode of what must be found there; of what is shared by all machines. ``folders``: directories inside that hold
    mounts and nothing else.
    """

    id: str
    name: str
    owner: Owner
    binds: Sequence[Bind]
    seen: Mapping[str, int]
    folders: Sequence[str] = ()

    @property
    def home(self) -> str:
        """Where the home is inside."""
        return f"/home/{self.name}"


@dataclass(frozen=True)
class Held:
    """What the swarm keeps for a service: id and name, and the file that it is inside."""

    id: str
    name: str
    file: str


def program(settings: Settings, server: Server, request: Request, effective: Effective, key: str) -> dict[str, Any]:
    """What a server's first program is told, see ``singleuser/enter.py``. Holds the hub's secrets.

    ``key``: what it says at the door.
    """
    private = f"{RUN_USER}/{server.owner.uid}"
    return {
        "key": key,
        "door": [settings.door.address, settings.door.port],
        "probe": [settings.probe.address, settings.probe.port] if settings.probe else None,
        "limit": ENTER_LIMIT_S,
        "look": list(server.seen),
        "show": [bind.target for bind in server.binds if bind.judged],
        "private": private,
        "files": FILES,
        # It finds out its own address, see there.
        "listen": [settings.server_port, request.environment.get("JUPYTERHUB_SERVICE_PREFIX", "/")],
        "argv": [f"{settings.python}/bin/jupyterhub-singleuser", *ARGUMENTS],
        **refused(effective),
        **when_full(server.home, private),
        "environment": environment(
            settings.variables, effective, request, name=server.name, home=server.home, private=private
        ),
    }


def service(
    settings: Settings,
    server: Server,
    effective: Effective,
    secret: Held,
    configs: Sequence[Held],
    cores: float | None = None,
    drained: Sequence[str] = (),
) -> dict[str, Any]:
    """The body of the request that makes the service. Holds no secret: whoever may ask the engine can read it.

    ``cores``: the fewest that a machine has, where that is known. ``drained``: ids of machines that it is not to come
    to, see `draining`.
    """
    hub = settings.layout.hub
    labels = {HUB_LABEL: hub, SERVER_LABEL: server.id}
    return {
        "Name": name_of(hub, server.id),
        "Labels": labels,
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": settings.image,
                "Hostname": hub,
                "User": f"{server.owner.uid}:{server.owner.gid}",
                "Dir": server.home,
                # In place of what the image would run: its entrypoint expects to be root, or has the image's own user.
                "Command": [f"{settings.python}/bin/python", "-I", "-m", "hubfleet_singleuser.enter", PROGRAM],
                "Labels": labels,
                "StopSignal": "SIGTERM",
                "StopGracePeriod": int(GRACE_S * 1e9),
                "Healthcheck": {"Test": ["NONE"]},
                "Init": True,
                # An image may have directories that all can write to; filled up, they would fill the machine's disk.
                "ReadOnly": True,
                "CapabilityDrop": ["ALL"],
                "Mounts": _mounts(settings, server, room(effective)),
                "Secrets": [{"SecretID": secret.id, "SecretName": secret.name, "File": _file(secret, server, 0o400)}],
                "Configs": [
                    {"ConfigID": one.id, "ConfigName": one.name, "File": _file(one, server, 0o444)} for one in configs
                ],
            },
            "Resources": _resources(effective, cores),
            # What has ended, has ended: another one would not be the one that its user had.
            "RestartPolicy": {"Condition": "none"},
            "Placement": {"Constraints": [*settings.placement, *(f"node.id!={one}" for one in drained)]},
            "Networks": [{"Target": settings.network}],
            "LogDriver": {"Name": "json-file", "Options": {"max-size": LOG_SIZE, "max-file": "1"}},
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        # A task is reached at its own address.
        "EndpointSpec": {"Mode": "dnsrr"},
    }


def _file(held: Held, server: Server, mode: int) -> dict[str, Any]:
    return {"Name": held.file, "UID": str(server.owner.uid), "GID": str(server.owner.gid), "Mode": mode}


def _resources(effective: Effective, cores: float | None) -> dict[str, Any]:
    limits: dict[str, Any] = {"Pids": effective.processes or PROCESSES}
    reserved: dict[str, Any] = {}
    if effective.memory_limit is not None:
        limits["MemoryBytes"] = int(effective.memory_limit)
    if effective.memory_guarantee is not None:
        reserved["MemoryBytes"] = int(effective.memory_guarantee)
    if effective.cpu_limit is not None:
        limits["NanoCPUs"] = _nano(min(effective.cpu_limit, cores or effective.cpu_limit))
    if effective.cpu_guarantee is not None:
        reserved["NanoCPUs"] = _nano(effective.cpu_guarantee)
    return {"Limits": limits, "Reservations": reserved}


def _nano(cores: float) -> int:
    return int(max(0.01, cores) * 1_000_000_000)


def _mounts(settings: Settings, server: Server, room: int) -> list[dict[str, Any]]:
    open_to_all = {"SizeBytes": room, "Mode": 0o1777}
    return [
        *_home(settings, server, room),
        *(
            # The engine's own, and gone with the container: the home gets no trace of what its user has left.
            {"Type": "tmpfs", "Target": folder, "TmpfsOptions": {"SizeBytes": FOLDER_BYTES, "Mode": 0o755}}
            for folder in server.folders
        ),
        *(_bind(one) for one in server.binds),
        # By way of a volume, since programs that are built run there, which they cannot in a plain one.
        _memory(settings, server, "/tmp", f"size={room},mode=1777,nosuid,nodev"),
        *(
            {"Type": "tmpfs", "Target": target, "TmpfsOptions": open_to_all}
            for target in (*SCRATCH, "/dev/shm", RUN_USER)
        ),
    ]


def _home(settings: Settings, server: Server, room: int) -> list[dict[str, Any]]:
    homes = settings.homes
    if homes.kind == "nfs":
        words = ",".join(word for word in (f"addr={homes.server}", "rw", homes.options) if word)
        options = {"type": "nfs", "o": words, "device": f":{homes.path}/{server.name}"}
        return [_volume(settings, server, server.home, options)]
    if homes.kind == "none":
        owner = f"uid={server.owner.uid},gid={server.owner.gid}"
        return [_memory(settings, server, server.home, f"size={room},mode=700,{owner},nosuid,nodev")]
    return []  # one of the binds


def _memory(settings: Settings, server: Server, target: str, options: str) -> dict[str, Any]:
    return _volume(settings, server, target, {"type": "tmpfs", "device": "tmpfs", "o": options})


def _volume(settings: Settings, server: Server, target: str, options: Mapping[str, str]) -> dict[str, Any]:
    """What is mounted for as long as the container runs. The name is kept on the machine, for the server's next start:
    a machine of a swarm makes a volume before the container does, and of one without a name there would be another
    with each start. It has the options of when it was made, so with others it is another one."""
    hub = settings.layout.hub
    digest = hashlib.sha256(json.dumps([target, options], sort_keys=True).encode()).hexdigest()[:12]
    driver = {"Name": "local", "Options": dict(options)}
    return {
        "Type": "volume",
        "Source": f"{name_of(hub, server.id)}-{digest}",
        "Target": target,
        "VolumeOptions": {"NoCopy": True, "Labels": {HUB_LABEL: hub}, "DriverConfig": driver},
    }


def _bind(bind: Bind) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": bind.source,
        "Target": bind.target,
        "ReadOnly": not bind.writable,
        # What is mounted inside on one machine need not be on another, and would stay writable.
        "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
    }
