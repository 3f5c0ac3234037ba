"""What a server needs before its service is made: its user's ids, and the directories that it is to be shown.

These are on other machines than this one, so little of them can be looked at here. What can, is: where this machine
has users' servers too, or sees the same file system. The rest is told by the machine that has the server, see
`showing`.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace

from hubfleet.config import Mount
from hubfleet.config.effective import Effective
from hubfleet.config.owner import Owner
from hubfleet.engines.mounted import those_there
from hubfleet.engines.places import place_of
from hubfleet.engines.swarm.showing import Bind, Unfit, needed
from hubfleet.engines.swarm.specification import Server, Settings
from hubfleet.engines.uids import owner_of
from hubfleet.homes.keeper import Home
from hubfleet.launcher.base import PROJECT_LEFT_OUT, Progress, Request, StartFailed
from hubfleet.names import system_name

logger = logging.getLogger("hubfleet.launcher")

_MISSING = re.compile(r"(?P<machine>\S+) could not run it: .*bind source path does not exist: (?P<path>.+)", re.DOTALL)


def identified(settings: Settings, request: Request, effective: Effective) -> Owner:
    """Who its files belong to. Raises StartFailed, OSError and NoIdLeft."""
    return owner_of(effective, settings.layout, system_name(request.user), settings.ids, settings.host_root)


def prepared(
    settings: Settings, request: Request, effective: Effective, owner: Owner, home: Home | None, progress: Progress
) -> Server:
    """The server as it is to be. Raises StartFailed and OSError."""
    name = system_name(request.user)
    binds, seen = [], {}
    if home is not None and settings.homes.kind == "mounted":
        binds.append(Bind(str(home.path), f"/home/{name}", True, judged=False))
        # On a machine where the storage is not mounted there may be something else at this place.
        seen[f"/home/{name}"] = home.inode

    def shown(mount: Mount) -> Bind:
        if os.path.isdir(f"{settings.host_root}{mount.host}"):
            place_of(mount, settings.host_root)
        # As the file says it: where links lead, each machine knows for itself.
        return Bind(mount.host, mount.container, mount.mode == "rw", needed(mount.host, effective.must_be_mounted))

    binds += [shown(mount) for mount in effective.mounts]
    binds += [replace(bind, optional=True) for bind in those_there(effective, shown, progress)]
    folders = (effective.projects_at,) if effective.projects_at else ()
    return Server(request.id, name, owner, binds, seen, folders)


def without(server: Server, problem: StartFailed, progress: Progress) -> Server | None:
    """The server without what has kept it from starting, if that is a project, which is said; None if not."""
    place, path, why = problem.place if isinstance(problem, Unfit) else "", "", str(problem)
    if found := _MISSING.fullmatch(why):
        path = found["path"].strip()
        why = f"{path} is missing on {found['machine']}; an administrator has to create it"
    left = [bind for bind in server.binds if bind.optional and (bind.target == place or bind.source == path)]
    for bind in left:
        logger.warning("left out: %s", why)
        progress(f"{PROJECT_LEFT_OUT} {os.path.basename(bind.target)}: {why}")
    return replace(server, binds=[bind for bind in server.binds if bind not in left]) if left else None
