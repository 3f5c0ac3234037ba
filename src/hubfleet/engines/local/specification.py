"""What a server's process is to be: the specifications for `sandbox.py`, from settings, request and options."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hubfleet import openfiles
from hubfleet.config import Mount
from hubfleet.config.effective import Effective
from hubfleet.config.owner import IdRange, Owner
from hubfleet.engines.fullhome import when_full
from hubfleet.engines.local import sandbox
from hubfleet.engines.projectlock import limit_told, refused
from hubfleet.engines.uids import USUAL
from hubfleet.errors import ConfigError
from hubfleet.launcher.base import Request, StartFailed
from hubfleet.layout import Layout

_SCRATCH = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")
"""Where everybody on a machine may write: each server gets its own."""

ARGUMENTS = ("--ServerApp.sock_mode=0666", "--KernelManager.transport=ipc")
"""Every server's. Its socket may be open to all because its directory is not. Kernels talk to it over Unix sockets in a
private directory: their TCP ports would be open to all."""

NOBODY = 65534
"""Whose id the rehearsal of a server has: it owns nothing."""


@dataclass(frozen=True)
class Settings:
    """The engine's part of ``launcher.json``.

    ``environment``: the users' Python environment. ``interpreter``: the installation it was made from.
    ``keeper``: who keeps homes, as `homes.client.homes_of` takes it. ``group``: id of the group that hub and proxy
    share, None when not privileged. ``hide``: host directories that nobody sees but through a mount.
    ``distributions``: what the fork server may load. ``variables``: what all servers have in their environment, unless
    a group, a person or a profile has it otherwise. ``ids``: those that people get of whom no service knows.
    """

    layout: Layout
    environment: Path
    interpreter: Path
    keeper: Mapping[str, Any] | None
    group: int | None
    hide: tuple[str, ...]
    distributions: tuple[str, ...]
    variables: Mapping[str, str]
    ids: IdRange = USUAL

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Settings:
        layout = Layout(data["hub"], Path(data["base"]), data["privileged"])
        group = grp.getgrnam(data["hub_account"]).gr_gid if data["hub_account"] else None
        environment, interpreter = Path(data["environment"]), Path(data["interpreter"])
        hide, distributions = tuple(data["hide"]), tuple(data["distributions"])
        ids = IdRange(*data["ids"]) if "ids" in data else USUAL
        keeper, variables = data["keeper"], data["variables"]
        return cls(layout, environment, interpreter, keeper, group, hide, distributions, variables, ids)


def server(
    settings: Settings,
    request: Request,
    effective: Effective,
    name: str,
    owner: Owner | None,
    home: Path,
    socket: Path,
    cgroups: list[str],
) -> dict[str, Any]:
    """The specification of one server, for `sandbox.py`. Raises StartFailed for a mount that is not as it has to be."""
    argv = [*_program(settings), *ARGUMENTS, f"--ServerApp.sock={socket}"]
    prefix = request.environment.get("JUPYTERHUB_SERVICE_PREFIX", "/")
    inside = f"/home/{name}" if owner is not None else str(home)
    environment = {
        **common(settings),
        **effective.environment,
        "HOME": inside,
        **request.environment,
        "JUPYTERHUB_SERVICE_URL": f"http+unix://{quote(str(socket), safe='')}{prefix}",
        "JUPYTERHUB_DEFAULT_URL": effective.default_url,
        "JUPYTERHUB_ROOT_DIR": inside,
        **limit_told(effective),
    }
    plain = {"argv": argv, "environment": environment, "directory": inside, "open_files": openfiles.USUAL}
    private = str(socket.parent) if owner is None else f"/run/user/{owner.uid}"
    plain |= when_full(inside, private)
    if owner is None:
        environment.update(USER=pwd.getpwuid(os.geteuid()).pw_name, JUPYTER_RUNTIME_DIR=str(socket.parent))
        return plain
    environment.update(USER=name, LOGNAME=name, XDG_RUNTIME_DIR=private, JUPYTER_RUNTIME_DIR=f"{private}/jupyter")
    room = str(int(effective.memory_limit)) if effective.memory_limit else "25%"  # of the machine's memory
    mounts = (*effective.mounts, *effective.projects)
    return {
        **plain,
        "uid": owner.uid,
        "gid": owner.gid,
        "cgroups": cgroups,
        "umask": 0o022,
        "hide": [*settings.hide, "/run/user"],
        "hide_processes": True,
        "scratch": [[place, room] for place in (*(place for place in _SCRATCH if os.path.isdir(place)), private)],
        "show": [
            [str(home), inside, True],
            [str(settings.interpreter), str(settings.interpreter), False],
            [str(settings.environment), str(settings.environment), False],
            [str(settings.layout.hub_socket.parent), str(settings.layout.hub_socket.parent), False],
            [str(socket.parent), str(socket.parent), True],
        ],
        "mounts": [[source(mount), mount.container, mount.mode == "rw"] for mount in mounts],
        "folders": [effective.projects_at] if effective.projects_at else [],
        "identity": _identity_files(name, owner, inside),
        **refused(effective),
    }


def rehearsal(settings: Settings) -> dict[str, Any]:
    """The specification of a server of nobody's, that finds out what a server imports."""
    private = str(rehearsal_directory(settings))
    place = "/tmp" if settings.layout.privileged else private
    environment = {
        **common(settings),
        **settings.variables,
        "HOME": place,
        "JUPYTERHUB_API_TOKEN": "none",
        "JUPYTERHUB_API_URL": "http://127.0.0.1:9/hub/api",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_CLIENT_ID": "rehearsal",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": "/user/rehearsal/oauth_callback",
        "JUPYTERHUB_ROOT_DIR": place,
        "JUPYTERHUB_SERVICE_PREFIX": "/user/rehearsal/",
        "JUPYTERHUB_SERVICE_URL": f"http+unix://{quote(f'{place}/rehearsal.sock', safe='')}/user/rehearsal/",
        "JUPYTERHUB_USER": "rehearsal",
        "JUPYTER_RUNTIME_DIR": place,
    }
    argv = [*_program(settings), *ARGUMENTS, f"--ServerApp.sock={place}/rehearsal.sock"]
    if not settings.layout.privileged:
        return {"argv": argv, "environment": environment, "directory": place}
    shown = [str(settings.interpreter), str(settings.environment)]
    return {
        "argv": argv,
        "environment": environment,
        "directory": place,
        "uid": NOBODY,
        "gid": NOBODY,
        "hide": [*settings.hide, "/run/user"],
        "hide_processes": True,
        "scratch": [[path, "64m"] for path in _SCRATCH if os.path.isdir(path)],
        "show": [[path, path, False] for path in shown],
    }


def fork_server(settings: Settings) -> dict[str, Any]:
    """What the fork server is told, see ``forkserver.parent``. Raises StartFailed for an environment not whole."""
    return {**kernels(settings), "program": _program(settings)[0], "arguments": ARGUMENTS}


def kernels(settings: Settings) -> dict[str, Any]:
    """What the parent of kernels is told, see ``forkserver.kernels``. Raises StartFailed as `fork_server`."""
    return {
        "environment": {**common(settings), **settings.variables},
        "sandbox": sandbox.__file__,
        "rehearsal": rehearsal(settings),
        "distributions": list(settings.distributions),
    }


def starter(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The specification of the starter of kernels that belongs to a server with this one."""
    joined = {key: spec[key] for key in ("uid", "gid", "cgroups", "open_files", "refused") if key in spec}
    return {**joined, "environment": {"JUPYTERHUB_USER": spec["environment"].get("JUPYTERHUB_USER", "")}}


def rehearsal_directory(settings: Settings) -> Path:
    """Where the rehearsal of an ordinary user's hub may write; root's gets a private /tmp."""
    return settings.layout.run / "rehearsal"


def _program(settings: Settings) -> list[str]:
    return [str(settings.environment / "bin" / "jupyterhub-singleuser")]


def common(settings: Settings) -> dict[str, str]:
    """The variables that every server has. Raises StartFailed for an environment that is not whole."""
    return {
        "PATH": f"{settings.environment}/bin:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh",
        "JUPYTER_CONFIG_PATH": str(_extension(settings.environment)),
    }


def _extension(environment: Path) -> Path:
    """The directory of our Jupyter extension. Raises StartFailed for an environment that is not whole."""
    found = next(environment.glob("lib/*/site-packages/hubfleet_singleuser"), None)
    if found is None:
        raise StartFailed(f"the environment {environment} is not whole; an administrator has to run: hubfleet up")
    return found


def source(mount: Mount) -> str:
    """Where a mount really comes from. Raises StartFailed if it is missing, or leads to what users must not see."""
    resolved = os.path.realpath(mount.host)
    if not os.path.isdir(resolved):
        raise StartFailed(f"{mount.host} is missing on this machine; an administrator has to create it")
    try:
        return Mount(resolved, mount.container, mount.mode).expand("", "").host
    except ConfigError as error:
        raise StartFailed(f"{mount.host} leads to {resolved}, which users must not see") from error


def _identity_files(name: str, owner: Owner, home: str) -> dict[str, str]:
    """/etc/passwd and /etc/group as this user sees them: the machine's, and the user's own line first."""
    user = f"{name}:x:{owner.uid}:{owner.gid}::{home}:/bin/bash\n"
    passwd, group = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
    return {"/etc/passwd": user + passwd, "/etc/group": f"{name}:x:{owner.gid}:\n{group}"}
