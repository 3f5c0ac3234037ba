"""What a server's container is to be: the body of the engine's ``create``, from settings, request and options. Pure."""

from __future__ import annotations

import os
import pwd
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hubfleet import openfiles
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
from hubfleet.engines.places import Place
from hubfleet.engines.projectlock import refused
from hubfleet.engines.uids import USUAL
from hubfleet.launcher.base import Request
from hubfleet.layout import Layout
from hubfleet.resources.dockerengine import SOCKET

ARGUMENTS = ("--ServerApp.sock_mode=0666", "--KernelManager.transport=ipc")
"""Every server's. Its socket may be open to all because its directory is not. Kernels talk to it over Unix sockets in a
private directory: their TCP ports would be open to every program in the container."""

SCRATCH = ("/tmp", "/var/tmp", "/run/lock")
"""Where everybody on a machine may write: each server gets its own, in memory. /dev/shm is the engine's."""


@dataclass(frozen=True)
class Settings:
    """The engine's part of ``launcher.json``.

    ``image``: of users' servers, with their Python environment at ``python``; ``images``: those of servers that are to
    be built on another one than everybody's, by that. ``network``: that of their containers.
    ``keeper``: who keeps homes, as `homes.client.homes_of` takes it; None when they are not kept, and then hold what
    ``skeleton`` does. ``hub_gid``: id of the group that hub and proxy share. ``variables``: what
    all servers have in their environment, unless a group, a person or a profile has it otherwise. ``host_root``: where
    the launcher sees the host's files, "" when it is in no container. ``engine_socket``: where the engine answers.
    ``ids``: those that people get of whom no service knows.
    """

    layout: Layout
    image: str
    python: str
    network: str
    keeper: Mapping[str, Any] | None
    skeleton: Path | None
    hub_gid: int
    variables: Mapping[str, str]
    host_root: str
    engine_socket: str
    ids: IdRange = USUAL
    images: Mapping[str, str] = field(default_factory=dict)

    def image_of(self, effective: Effective) -> str:
        """The image of a server."""
        return self.images.get(effective.image or "", self.image)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Settings:
        layout = Layout(data["hub"], Path(data["base"]), data["privileged"])
        # In a container the host's accounts have no names.
        group = data["hub_gid"] if data.get("hub_gid") is not None else pwd.getpwnam(data["hub_account"]).pw_gid
        return cls(
            layout,
            image=data["image"],
            python=data["python"],
            network=data["network"],
            keeper=data["keeper"],
            skeleton=Path(data["skeleton"]) if data.get("skeleton") else None,
            hub_gid=group,
            variables=data["variables"],
            host_root=data.get("host_root", ""),
            engine_socket=data.get("engine_socket", SOCKET),
            ids=IdRange(*data["ids"]) if "ids" in data else USUAL,
            images=data.get("images", {}),
        )


@dataclass(frozen=True)
class Server:
    """One server as it is to be: its id, its user's system name and ids, and where its files are on the host.

    ``run``: the directory of its socket. ``identity``: files of the host that stand for others in the image.
    ``places``: the home and the mounts. ``folders``: directories inside that hold mounts and nothing else.
    """

    id: str
    name: str
    owner: Owner
    run: Path
    identity: Mapping[str, Path]
    places: Sequence[Place]
    folders: Sequence[str] = ()

    @property
    def home(self) -> str:
        """Where the home is inside."""
        return f"/home/{self.name}"

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.run / "server.sock"

    @property
    def door(self) -> Path:
        """Where its first program asks what to become, see `door`."""
        return self.run / "door.sock"


def program(settings: Settings, server: Server, request: Request, effective: Effective) -> dict[str, Any]:
    """What the server becomes once it is in: argument list and environment. Holds the hub's secrets."""
    prefix = request.environment.get("JUPYTERHUB_SERVICE_PREFIX", "/")
    told = environment(
        settings.variables, effective, request, name=server.name, home=server.home, private=_private(server)
    )
    told["JUPYTERHUB_SERVICE_URL"] = f"http+unix://{quote(str(server.socket), safe='')}{prefix}"
    argv = [f"{settings.python}/bin/jupyterhub-singleuser", *ARGUMENTS, f"--ServerApp.sock={server.socket}"]
    return {"argv": argv, "environment": told, **refused(effective), **when_full(server.home, _private(server))}


def container(settings: Settings, server: Server, effective: Effective) -> dict[str, Any]:
    """The body of the request that makes the container. Holds no secret: whoever may ask the engine can read it."""
    hub = settings.layout.hub
    return {
        "Image": settings.image_of(effective),
        "Hostname": hub,
        "User": f"{server.owner.uid}:{server.owner.gid}",
        "WorkingDir": server.home,
        # In place of what the image would run: its entrypoint expects to be root, or to have the image's own user.
        "Entrypoint": [f"{settings.python}/bin/python", "-I", "-m", "hubfleet_singleuser.enter", str(server.door)],
        "Cmd": [],
        "Env": [],
        "Labels": {HUB_LABEL: hub, SERVER_LABEL: server.id},
        "StopSignal": "SIGTERM",
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            **_confinement(),
            **_limits(effective),
            "NetworkMode": settings.network,
            "RestartPolicy": {"Name": "no"},
            "Init": True,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": LOG_SIZE, "max-file": "1"}},
            "Tmpfs": _scratch(server, room(effective)),
            "Mounts": _mounts(settings, server),
        },
    }


def _confinement() -> dict[str, Any]:
    return {
        "Privileged": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "IpcMode": "private",
        # An image may have directories that all can write to; filled up, they would fill the engine's disk.
        "ReadonlyRootfs": True,
    }


def _limits(effective: Effective) -> dict[str, Any]:
    soft, hard = openfiles.USUAL
    limits: dict[str, Any] = {
        "PidsLimit": effective.processes or PROCESSES,
        "Ulimits": [{"Name": "nofile", "Soft": _count(soft), "Hard": _count(hard)}],
        # When the machine's memory ends, a user's server goes before the hub's services.
        "OomScoreAdj": 500,
        "ShmSize": room(effective),
    }
    if effective.memory_limit is not None:
        # As much with swap as without: or a server past its limit would push the machine into swap.
        limits.update(Memory=int(effective.memory_limit), MemorySwap=int(effective.memory_limit))
    if effective.memory_guarantee is not None:
        limits["MemoryReservation"] = int(effective.memory_guarantee)
    if effective.cpu_limit is not None:
        # The engine refuses more than there are.
        limits["NanoCpus"] = int(max(0.01, min(effective.cpu_limit, os.cpu_count() or 1)) * 1_000_000_000)
    if effective.cpu_guarantee is not None:
        limits["CpuShares"] = max(2, int(effective.cpu_guarantee * 1024))
    return limits


def _count(limit: int) -> int:
    return -1 if limit == resource.RLIM_INFINITY else limit


def _scratch(server: Server, room: int) -> dict[str, str]:
    common = f"rw,exec,nosuid,nodev,size={room}"
    private = f"{common},mode=700,uid={server.owner.uid},gid={server.owner.gid}"
    return {
        **dict.fromkeys(SCRATCH, f"{common},mode=1777"),
        _private(server): private,
        # Root's, and gone with the container: the home gets no trace of what its user has left.
        **dict.fromkeys(server.folders, f"rw,noexec,nosuid,nodev,size={FOLDER_BYTES},mode=755"),
    }


def _private(server: Server) -> str:
    return f"/run/user/{server.owner.uid}"


def _mounts(settings: Settings, server: Server) -> list[dict[str, Any]]:
    hub = settings.layout.hub_socket.parent
    return [
        *(_bind(place.source, place.target, place.writable) for place in server.places),
        _bind(server.run, server.run, True),
        _bind(hub, hub, False),
        *(_bind(source, target, False) for target, source in server.identity.items()),
    ]


def _bind(source: str | Path, target: str | Path, writable: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": str(target),
        "ReadOnly": not writable,
        # What is mounted inside comes by itself, see `places.with_inner`.
        "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
    }
