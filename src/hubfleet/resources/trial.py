"""A new generation of a hub, tried out by a test user beside the one that serves, before that is replaced."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar

from hubfleet.resources.base import Change, Observed, Resource
from hubfleet.resources.container import Container
from hubfleet.resources.directory import Directory
from hubfleet.resources.file import File

LABEL = "hubfleet.trial"
"""On the second hub's own containers; its value is the name of the hub that serves."""
HUB_LABEL = "hubfleet.hub"
SERVER_LABEL = "hubfleet.server"
"""On the containers of users' servers; its value is the name of their hub."""

_DETAIL = (
    "a second hub is started beside the one that serves, from the new images and settings",
    "a test user's server starts there and runs a notebook; then all of it is removed",
    "if that fails, nothing that serves is touched",
)


@dataclass(frozen=True)
class Trial(Resource):
    """A whole second hub, which is there while it is tried out and is to be gone before and after.

    hub:         the one that serves; serving: its container, by which one knows whether it does.
    beside:      the second one's name, which its users' containers bear.
    place:       the second one's directory; it is there as long as anything of a trial is.
    note:        the file that says which trial was passed last.
    database:    that of the one that serves; copy: where a copy goes, if there is one.
    logs:        where the second one keeps the logs of users' servers.
    directories, files: as they would be; a secret file has marks (``@@name@@``), and the agent makes up what they
                 stand for.
    containers:  the second one's parts. The last needs the first, and is the hub.
    person:      the test user: a program that ends by itself, see `loadtest.trial`.
    Observed keys: passed (a trial's `fingerprint`, or empty), left (something of a trial is there).
    """

    kind: ClassVar[str] = "trial"
    keyed_by: ClassVar[str] = "hub"
    recorded: ClassVar[bool] = False  # a generation that has served needs none, and a rollback is in a hurry

    hub: str
    serving: str
    beside: str
    place: str
    note: str
    database: str
    copy: str
    logs: str
    directories: tuple[Directory, ...]
    files: tuple[File, ...]
    containers: tuple[Container, ...]
    person: Container

    @property
    def title(self) -> str:
        """What is tried out."""
        return "the new generation with a test user"

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides how a trial ends."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def diff(self, observed: Observed | None) -> Change | None:
        if observed is None or observed["passed"] != self.fingerprint:
            return Change(self, "try out", _DETAIL)
        if observed["left"]:
            return Change(self, "try out", ("an earlier trial was broken off: what it left is removed", *_DETAIL))
        return None

    def to_json(self) -> dict[str, Any]:
        many = ("directories", "files", "containers")
        return {
            **super().to_json(),
            **{name: [one.to_json() for one in getattr(self, name)] for name in many},
            "person": self.person.to_json(),
        }
