"""What every engine offers, and what it may know of the machine when it decides what should be there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from hubfleet.config import Config
from hubfleet.launcher.base import Launch
from hubfleet.layout import Layout
from hubfleet.link import Link
from hubfleet.resources import Opening, Resource

Supervision = Literal["attached", "daemon", "systemd", "containers"]


@dataclass(frozen=True)
class Site:
    """The facts and secrets that a desired state is made from; gathered beforehand, so that making it is pure.

    ``account``: the name of the account that runs hubfleet.
    ``python``: the interpreter environments are built on, ``python_version`` its "3.11", ``interpreter`` the
    installation it belongs to.
    ``package``: the directory of this very package, copied into the hub's environment; ``package_digest`` of its files.
    ``limits_problem``: why limits cannot be enforced here; None when they can.
    ``tokens``: hubfleet's own, by name; ``passwords``: people's, as named in the secrets file.
    ``requirements``: text of the requirements file of the configuration, or "". ``owner_command``: that of the program
    that knows owners. ``service_secrets``: what services of the site are shown, and a
    certificate with its key that are among the secrets, as named in the secrets file.
    ``link``: certificates and keys of the line from an edge on a machine of its own to the hub's machine, which it
    reaches at ``hub_address``. ``registry``: the same of the line from other machines to the one that has the images;
    ``homes``: of the line from the launcher to another machine that has the homes.
    ``addresses``: where machines reach each other, by name; ``reached``: where ssh reaches them. ``drained``: names of
    those where no servers are started.
    ``listed``: the names in the file of those who may log in.
    """

    layout: Layout
    account: str
    python: str
    python_version: str
    interpreter: Path
    package: Path
    package_digest: str
    singleuser_digest: str
    supervision: Supervision
    limits_problem: str | None
    tokens: Mapping[str, str]
    passwords: Mapping[str, str]
    requirements: str
    link: Link | None = None
    hub_address: str = ""
    owner_command: str = ""
    service_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    registry: Link | None = None
    homes: Link | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)
    reached: frozenset[str] = frozenset()
    drained: frozenset[str] = frozenset()
    listed: tuple[str, ...] = ()


TOKENS = ("proxy_token", "operator_token", "culler_token", "auth_state_key")


class Engine(Protocol):
    """One way to run users' servers."""

    name: str
    door: str
    """The part that people come in by."""

    def layout(self, config: Config) -> Layout:
        """Where the hub's files are, on its machine."""

    def containers(self, config: Config) -> Mapping[str, str]:
        """The container of each of the hub's own parts, in the order of their start; empty where they are processes."""

    def elsewhere(self, config: Config) -> Mapping[str, str]:
        """The machine of each part that is not on the hub's machine."""

    def doors(self, hub: str) -> tuple[str, ...]:
        """The containers that people may come in by, now or in another form of the configuration."""

    def entrance(self, config: Config) -> tuple[str, int]:
        """Address and port at which people come in."""

    def url(self, config: Config) -> str:
        """Where people go; on this machine, as seen from it."""

    def ports(self, config: Config) -> Mapping[str, tuple[int, ...]]:
        """TCP ports that are taken, by part: those of its machine."""

    def link_port(self, config: Config) -> int:
        """TCP port at which the machine that people come in by reaches the hub's; 0 where they are one."""

    def spans(self, config: Config) -> bool:
        """Whether users' servers may be on several machines, which then reach each other and share images."""

    def openings(self, config: Config, site: Site) -> Mapping[str, Opening]:
        """By machine, what its own firewall has to leave open; empty where nothing has to be. Pure."""

    def limits_problem(self, hub: str) -> str | None:
        """Why limits on memory, CPU and processes cannot be enforced on this machine; None when they can."""

    def problems(self, config: Config, site: Site) -> list[str]:
        """What of the configuration this engine cannot do here, one sentence each with what to change. Pure."""

    def link_files(self, config: Config, site: Site) -> dict[str, tuple[Resource, ...]]:
        """By machine, the secret files by which one knows the other. Pure."""

    def desired(self, config: Config, site: Site) -> tuple[Resource, ...]:
        """Everything that should be on the hub's machine, in the order in which it is made. Pure."""

    def desired_elsewhere(self, config: Config, site: Site) -> dict[str, tuple[Resource, ...]]:
        """The same for other machines, by name. Pure."""

    def launch(self, settings: Mapping[str, Any]) -> Launch:
        """The part that runs in the launcher; ``settings`` is what ``desired`` wrote into ``launcher.json``."""
