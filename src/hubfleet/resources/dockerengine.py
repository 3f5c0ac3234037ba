"""The Docker engine of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource

SOCKET = "/var/run/docker.sock"
"""Where an engine listens on its machine."""
STOPPED: Observed = {"engine": "stopped"}
"""What is said of containers, images and networks while their engine does not run: nobody knows."""


def known(observed: Observed | None) -> bool:
    """Whether something was seen of what an engine holds: it runs, and the thing is there."""
    return observed is not None and observed != STOPPED


@dataclass(frozen=True)
class DockerEngine(Resource):
    """A Docker engine that runs. One that is there is kept, whoever made it; else the distribution's is installed.

    live_restore: whether containers go on while the engine is restarted or upgraded. A swarm's engine refuses it, so
                  it is switched off before a machine joins one, and on again after it has left.
    Absent: not installed. Observed keys: running, version (empty unless running), live_restore, swarm (it is part of
    one), ours (of one that hubfleet made), settings (digest of its daemon.json; empty without one), readable (that is a
    JSON object), lacks (packages that are needed beside it and are not installed).
    """

    kind: ClassVar[str] = "docker engine"
    keyed_by: ClassVar[str] = "name"
    removable: ClassVar[bool] = False
    volatile: ClassVar[frozenset[str]] = frozenset({"version", "swarm", "ours"})

    name: str = "docker"
    live_restore: bool = True

    @property
    def title(self) -> str:
        """A machine has one only."""
        return "Docker engine"

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError if live-restore cannot be switched."""
        restore = ("containers go on while it is restarted (live-restore)",) if self.live_restore else ()
        if observed is None:
            return Change(self, "create", ("the distribution's docker.io is installed", *restore))
        missing = tuple(f"{package} is installed" for package in observed["lacks"])
        impact = ""
        if observed["live_restore"] == self.live_restore:
            restore = ()
        else:
            self._check_settings(observed)
        if observed["live_restore"] and not self.live_restore:
            restore = ("live-restore is switched off, which a swarm's engine refuses",)
            impact = "from now on, all containers of this machine end whenever Docker is restarted or upgraded"
        if not observed["running"]:
            return Change(self, "start", ("not running", *missing, *restore), impact)
        return Change(self, "update", (*missing, *restore), impact) if missing or restore else None

    def _check_settings(self, observed: Observed) -> None:
        if self.live_restore and observed["swarm"] and not observed["ours"]:
            raise CheckError(
                "Docker is part of a swarm here, and a swarm's engine refuses live-restore: "
                "its containers would end whenever it is restarted",
                state="It was left as it is",
                remedy="docker swarm leave, or another machine",
            )
        if not observed["readable"]:
            raise CheckError(
                "/etc/docker/daemon.json is not a JSON object, and live-restore has to be set in it",
                state="It was left as it is",
                remedy="correct that file, or remove it",
            )
