"""A process that the hub's supervisor keeps running."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import ClassVar

from hubfleet.resources.base import Change, Observed, Resource

_DOWN = {
    "waiting": "it ended, and its supervisor starts it again",
    "stopping": "it is being stopped",
    "silent": "it runs and does not answer",
}


@dataclass(frozen=True)
class Process(Resource):
    """A process of a hub.

    directory:   the supervisor's directory; `supervisor` is the command that starts one for it.
    order:       processes start in this order.
    argv, environment: the program; no secrets.
    depends:     digests of files it reads at start: when one changes, the process is restarted.
    log:         file for its output.
    ready:       Unix socket that answers once it is up.
    impact:      what users notice of a restart.
    unit:        systemd unit that runs the supervisor; empty: hubfleet starts it itself.
    attached:    the supervisor ends with the command that started it. Says how, not what: no part of the comparison.
    Observed keys: fingerprint, state (see `supervisor.spec.ProcessStatus`; "silent": it runs and does not answer).
    """

    kind: ClassVar[str] = "process"
    keyed_by: ClassVar[str] = "name"
    volatile: ClassVar[frozenset[str]] = frozenset({"state"})
    removed_first: ClassVar[bool] = True

    name: str
    directory: str
    supervisor: tuple[str, ...]
    order: int
    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    depends: tuple[str, ...] = ()
    log: str = ""
    ready: str = ""
    impact: str = ""
    unit: str = ""
    attached: bool = False

    @property
    def fingerprint(self) -> str:
        """Changes whenever the process has to be started anew."""
        parts = [self.argv, sorted(self.environment.items()), self.depends, self.log]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def steady(self, observed: Observed | None) -> Observed | None:
        """Whatever a process does meanwhile, the change leads to the wanted one: no plan goes stale."""
        return None

    @property
    def serves(self) -> bool:
        return True

    def diff(self, observed: Observed | None) -> Change | None:
        if observed is None:
            return Change(self, "start", ("not running",))
        if observed["fingerprint"] != self.fingerprint:
            return Change(self, "restart", ("what it runs or reads at start has changed",), self.impact)
        if observed["state"] != "running":
            return Change(self, "start", (_DOWN[observed["state"]],))
        return None
