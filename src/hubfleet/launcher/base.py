"""What the launcher and every engine agree on: the request for a server, the record of one, and what is known of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from hubfleet.config.belonging import NOWHERE, Belonging
from hubfleet.config.effective import Effective
from hubfleet.names import server_id

if TYPE_CHECKING:
    from hubfleet.homes.client import Homes

# What JupyterHub tells a server about itself. Nothing else that a hub sends reaches a user's process.
_HUB_VARIABLE = re.compile(r"JUPYTERHUB_[A-Z_]+")
MOST_GROUPS = 2000
_MAX_VALUE = 16_384  # characters; far above the longest scope list seen


PROJECT_LEFT_OUT = "Left out:"
"""How a report begins that a server does without something. It is told beside the running server too."""


class BadRequest(ValueError):
    """The hub asked for something it may not have; the text says what."""


class StartFailed(RuntimeError):
    """A server did not come up. The text is for the person who pressed Start: plain words, no secret."""


@dataclass(frozen=True)
class Request:
    """All that a hub may ask for: whose server, which one, by which profile, and JupyterHub's own variables.

    ``belonging``: groups that the user is in, as the hub was told. What comes of them is in the configuration.
    """

    user: str
    server: str = ""
    profile: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    belonging: Belonging = NOWHERE

    @classmethod
    def parse(cls, body: Any) -> Request:
        """Check what came over the socket. Raises BadRequest for any key, type or variable beyond those above."""
        if not isinstance(body, dict):
            raise BadRequest("expected a JSON object")
        unknown = sorted(set(body) - {"user", "server", "profile", "environment", "groups"})
        if unknown:
            raise BadRequest(f"may not be asked for: {', '.join(unknown)}")
        user, server, profile = body.get("user"), body.get("server", ""), body.get("profile")
        environment = body.get("environment", {})
        if not isinstance(user, str) or not user or "\0" in user or len(user) > 255:
            raise BadRequest("'user' must be a name")
        if not isinstance(server, str) or "\0" in server or len(server) > 255:
            raise BadRequest("'server' must be a name or empty")
        if not (profile is None or isinstance(profile, str)):
            raise BadRequest("'profile' must be a profile's key")
        if not isinstance(environment, dict):
            raise BadRequest("'environment' must be an object")
        for name, value in environment.items():
            if not isinstance(name, str) or not _HUB_VARIABLE.fullmatch(name):
                raise BadRequest(f"environment variable {name!r} may not be set by the hub")
            if not isinstance(value, str) or len(value) > _MAX_VALUE or "\0" in value:
                raise BadRequest(f"environment variable {name} has an unusable value")
        return cls(user, server, profile, environment, _belonging(body.get("groups", {})))

    @property
    def id(self) -> str:
        return server_id(self.user, self.server)


def _belonging(groups: Any) -> Belonging:
    if not isinstance(groups, dict) or set(groups) - {"provider", "hub"}:
        raise BadRequest("'groups' must be an object of `provider` and `hub`")
    for names in groups.values():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadRequest("'groups' must have lists of names")
        if len(names) > MOST_GROUPS:
            raise BadRequest(f"somebody in more than {MOST_GROUPS} groups")
    return Belonging.of(groups.get("provider", ()), groups.get("hub", ()))


@dataclass(frozen=True)
class Record:
    """One server that was started, as kept on disk. Holds no secret.

    ``handle`` is the engine's own way to find it again after a restart of the launcher (process id, container, job).
    ``started`` is in seconds since 1970. ``ready``: it has accepted connections.
    """

    id: str
    user: str
    server: str
    profile: str | None
    url: str
    started: float
    log: str
    handle: Mapping[str, Any]
    ready: bool = False

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Running:
    """The server is up."""


@dataclass(frozen=True)
class Stopped:
    """The server is certainly gone. ``code`` is its exit code, None where nobody saw it; ``why`` is for people."""

    code: int | None
    why: str


@dataclass(frozen=True)
class Unknown:
    """The backend cannot be asked right now. Never to be taken for stopped."""

    why: str


Status = Running | Stopped | Unknown
Progress = Callable[[str], None]
Spawned = Callable[["Record"], None]


class Launch(Protocol):
    """How one engine runs one server. Implementations live in ``engines/<name>/launch.py``."""

    @property
    def homes(self) -> Homes | None:
        """Who keeps people's homes; None where homes are not kept."""

    async def open(self) -> None:
        """Begin what makes starts fast; called once, before the first start. Returns at once."""

    async def close(self) -> None:
        """Let go of what `open` began. Servers go on."""

    def at_once(self) -> int | None:
        """How many starts at once its machines can carry now; None where that is only the launcher's own machine."""

    async def start(self, request: Request, effective: Effective, progress: Progress, spawned: Spawned) -> Record:
        """Start the server and return once it accepts connections. Raises StartFailed, leaving nothing behind.

        ``spawned`` is told of the server as soon as it exists, before it is up: a launcher that dies in between finds
        it again. An OSError of ``spawned`` fails the start, for a server that cannot be found again must not run.
        """

    async def poll(self, record: Record) -> Status:
        """What is known of the server. Does not raise for an unreachable backend: that is Unknown."""

    async def stop(self, record: Record, grace: float) -> None:
        """Stop it: politely, then after ``grace`` seconds for good. Stopping what is gone is success."""

    def watch(self, record: Record, ended: Callable[[Record], None]) -> None:
        """Call ``ended`` once, when the server is no longer there."""
