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

    live_restore: containers go on while the engine is restarted or upgraded.
    Absent: not installed. Observed keys: running, version (empty unless running), live_restore, swarm (it is part of
    one), settings (digest of its daemon.json; empty without one), readable (that is a JSON object), lacks (packages
    that are needed beside it and are not installed).
    """

    kind: ClassVar[str] = "docker engine"
    keyed_by: ClassVar[str] = "name"
    removable: ClassVar[bool] = False
    volatile: ClassVar[frozenset[str]] = frozenset({"version"})

    name: str = "docker"
    live_restore: bool = True

    @property
    def title(self) -> str:
        """A machine has one only."""
        return "Docker engine"

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError if live-restore cannot be switched on."""
        restore = ("containers go on while it is restarted (live-restore)",) if self.live_restore else ()
        if observed is None:
            return Change(self, "create", ("the distribution's docker.io is installed", *restore))
        missing = tuple(f"{package} is installed" for package in observed["lacks"])
        if self.live_restore and not observed["live_restore"]:
            self._check_settings(observed)
        else:
            restore = ()
        if not observed["running"]:
            return Change(self, "start", ("not running", *missing, *restore))
        return Change(self, "update", (*missing, *restore)) if missing or restore else None

    def _check_settings(self, observed: Observed) -> None:
        if observed["swarm"]:
            raise CheckError(
                "Docker is part of a swarm here, and a swarm's engine refuses live-restore: "
                "its containers would end whenever it is restarted",
                state="It was left as it is",
                remedy="docker swarm leave, or another machine",
            )
        if not observed["readable"]:
            raise CheckError(
                "/etc/docker/daemon.json is not a JSON object, and live-restore has to be added to it",
                state="It was left as it is",
                remedy="correct that file, or remove it",
            )
