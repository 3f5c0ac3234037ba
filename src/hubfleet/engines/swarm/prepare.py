"""What a server needs before its service is made: an id, a home, and the directories that it is to be shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hubfleet.config import Mount
from hubfleet.config.effective import Effective
from hubfleet.config.owner import Owner
from hubfleet.engines.homes import Homes
from hubfleet.engines.mounted import require_mounted, those_there
from hubfleet.engines.places import place_of
from hubfleet.engines.swarm.specification import Bind, Server, Settings
from hubfleet.engines.uids import owner_of
from hubfleet.launcher.base import Progress, Request
from hubfleet.names import system_name


def prepared(settings: Settings, request: Request, effective: Effective, progress: Progress) -> Server:
    """The server as it is to be, its home made if need be. Raises StartFailed, OSError and NoIdLeft."""
    layout, name = settings.layout, system_name(request.user)
    require_mounted(effective, settings.host_root)
    owner = owner_of(effective, layout, name, settings.ids, settings.host_root)
    binds, seen = [], {}
    home = _made_home(settings, request.id, name, owner)
    if home is not None and settings.homes.kind == "mounted":
        binds.append(Bind(str(home), f"/home/{name}", True))
        # On a machine where the storage is not mounted there may be something else at this place.
        seen[f"/home/{name}"] = home.stat().st_ino
    binds += [bind for mount in effective.mounts for bind in _shown(mount, settings.host_root)]
    projects = those_there(effective, lambda mount: list(_shown(mount, settings.host_root)), progress)
    binds += [bind for found in projects for bind in found]
    folders = (effective.projects_at,) if effective.projects_at else ()
    return Server(request.id, name, owner, binds, seen, folders)


def _made_home(settings: Settings, server: str, name: str, owner: Owner) -> Path | None:
    """The home, made from the skeleton if need be; None where it is not this machine that has it."""
    homes = settings.homes
    if homes.kind == "none":
        return None
    path = Path(homes.path)
    if homes.kind == "nfs" and not path.is_dir():
        return None
    return Homes(path, settings.layout.state, settings.skeleton).of(server, name, owner)


def _shown(mount: Mount, root: str) -> Iterator[Bind]:
    """A mount. What of it is on this machine too is looked at here; the others say themselves when it is missing."""
    if os.path.isdir(f"{root}{mount.host}"):
        place = place_of(mount, root)
        yield Bind(place.source, place.target, place.writable)
    else:
        yield Bind(mount.host, mount.container, mount.mode == "rw")
