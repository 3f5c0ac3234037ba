"""A container that the engine keeps running."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource
from hubfleet.resources.dockerengine import STOPPED

FOREIGN = "foreign"
_DOWN = {
    "absent": "an interrupted change left none",
    "created": "it was never started",
    "exited": "it ended",
    "dead": "the engine could not end it cleanly",
    "paused": "it is paused",
    "removing": "it is being removed",
    "restarting": "it ended, and the engine starts it again",
    "silent": "it runs and does not answer",
}

_SAYS_NOTHING = ("name", "reads", "database", "database_copy", "ready", "impact", "noticed")
"""Fields whose change is no reason for another container."""
_ADDED = ("networks", "hostname")
"""Fields of a later release: one that has none of them is what it was before."""


@dataclass(frozen=True)
class Container(Resource):
    """A container of a hub: with no privileges but those named, and no way to gain more.

    argv, environment: the program, whatever the image would run (none: that one); no secrets.
    directory:    where it runs; empty: as the image says.
    depends:      digests of files it reads at start: when one changes, the container is replaced.
    user, groups: names of accounts and groups of the machine; an empty user is root.
    reads:        paths of those files; an earlier container that is put back gets back what it was started with.
    database:     path of a database that a later one may change so that an earlier one cannot read it: one that is put
                  back gets it back as it was. Empty: none. database_copy: where it is kept meanwhile.
    mounts:       (path on the machine, path in the container, "ro" or "rw"); the first must be there.
    tmpfs:        (path, size in bytes): file systems in memory.
    network:      "none", "host" or a network's name.
    networks:     (name, fixed address) of further networks; or of that one, if it has the same name. An empty address:
                  the engine chooses.
    hostname:     what it takes itself for, and others on its network call it; empty: the engine chooses.
    ports:        (address of the machine, its port, the container's port).
    capabilities: without CAP_; all others are dropped.
    read_only:    nothing but mounts and tmpfs can be written.
    memory:       bytes, without swap; processes: how many at most; 0 is no limit.
    health:       a check the engine runs; empty: none.
    stop_signal:  how it is asked to end; empty: as usual, by SIGTERM.
    stop_grace:   seconds between being asked to end and being ended.
    ready:        Unix socket on the machine that answers once it is up; empty: it runs, and is healthy if it has
                  a check.
    impact:       what users notice of its replacement.
    noticed:      whether they notice anything; one of which they do not is there before all is prepared.
    Observed keys: fingerprint (empty if its accounts have other numbers now), state (running; exited and others, see
    `_DOWN`; "foreign": hubfleet did not make it), leftovers (names that an interrupted change left); or
    `dockerengine.STOPPED`.
    """

    kind: ClassVar[str] = "container"
    keyed_by: ClassVar[str] = "name"
    removed_first: ClassVar[bool] = True

    name: str
    image: str
    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = ""
    depends: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    database: str = ""
    database_copy: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    mounts: tuple[tuple[str, str, str], ...] = ()
    tmpfs: tuple[tuple[str, int], ...] = ()
    network: str = "none"
    networks: tuple[tuple[str, str], ...] = ()
    hostname: str = ""
    ports: tuple[tuple[str, int, int], ...] = ()
    capabilities: tuple[str, ...] = ()
    read_only: bool = True
    memory: int = 0
    processes: int = 0
    health: tuple[str, ...] = ()
    stop_signal: str = ""
    stop_grace: int = 10
    ready: str = ""
    impact: str = ""
    noticed: bool = True

    @property
    def fingerprint(self) -> str:
        """Changes whenever the container has to be replaced: with all fields but those that say nothing of it."""
        parts = {
            name: value
            for name, value in asdict(self).items()
            if name not in _SAYS_NOTHING and (value or name not in _ADDED)
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def steady(self, observed: Observed | None) -> Observed | None:
        """Whatever a container does meanwhile, the change leads to the wanted one: no plan goes stale."""
        return None

    @property
    def serves(self) -> bool:
        return self.noticed

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError if somebody else's container has the name."""
        if observed is None or observed == STOPPED:
            return Change(self, "start", ("not running",))
        if observed["state"] == FOREIGN:
            raise CheckError(
                f"there is a container {self.name} that hubfleet did not make",
                state="It was left as it is",
                remedy=f"docker rename {self.name} <another name>",
            )
        if observed["state"] == "absent":
            return Change(self, "start", (_DOWN["absent"],))
        if observed["fingerprint"] != self.fingerprint:
            return Change(self, "restart", ("what it runs or reads at start has changed",), self.impact)
        if observed["state"] != "running":
            return Change(self, "start", (_DOWN.get(observed["state"], f"it is {observed['state']}"),))
        if observed["leftovers"]:
            return Change(self, "update", (f"left by an interrupted change: {', '.join(observed['leftovers'])}",))
        return None

    def removal(self, observed: Observed | None) -> Change | None:
        """None for somebody else's."""
        return None if observed and observed.get("state") == FOREIGN else super().removal(observed)
