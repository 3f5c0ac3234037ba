"""What a machine must be able to do, wherever it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from hubfleet.agent.base import Progress
from hubfleet.agent.lock import Holder
from hubfleet.agent.logs import Said
from hubfleet.agent.store import Store
from hubfleet.resources import Change, Observed, Resource


class Machine(Protocol):
    """A machine that can be looked at and changed."""

    @property
    def name(self) -> str:
        """Its name in plans."""

    @property
    def address(self) -> str:
        """The name or address that it is reached at; "" for the machine hubfleet runs on."""

    @property
    def store(self) -> Store:
        """The small files that hubfleet keeps there."""

    def open(self) -> None:
        """Begin to connect where that takes time, so that several machines are waited for at once; never fails."""

    def observe(self, resources: Sequence[Resource]) -> dict[str, Observed | None]:
        """What it has of each resource, by id; see `agent.converge.observe`."""

    def apply(self, change: Change, progress: Progress) -> bool:
        """Carries out one change; False if it was done already; see `agent.converge.apply`."""

    def hold(self, directory: str) -> AbstractContextManager[Holder]:
        """Holds the lock in this directory; see `agent.lock.hold`."""

    def facts(self) -> dict[str, Any]:
        """What the machine is and has; see `agent.facts.facts`."""

    def request(self, path: str, method: str, target: str, body: Any, token: str | None, timeout: float) -> Any:
        """One HTTP request to a Unix socket there; see `unixhttp.request`."""

    def connect(self, address: str, port: int) -> None:
        """Raises OSError if nothing listens there, as seen from the machine."""

    def probe(self, names: Sequence[str], targets: Sequence[tuple[str, int]]) -> dict[str, Any]:
        """Where names lead, and whether hosts and ports answer, as seen from the machine; see `agent.outside.probe`."""

    def sources(self) -> dict[str, list[str]]:
        """Where its own tools get packages from; see `agent.sources.sources`."""

    def listen(self, mark: str) -> None:
        """Begin to listen for what other machines `call`; see `agent.ways`. Raises OSError if it may not."""

    def call(self, mark: str, sender: str, targets: Sequence[Sequence[str]]) -> list[list[str]]:
        """Send to addresses and what of each ("udp/4789"); returns what could not be sent. ``sender``: it itself."""

    def heard(self, expected: Sequence[Sequence[str]]) -> list[list[str]]:
        """End to listen; of these, by the sender's address and what of this machine, those that have not arrived, with
        the address from which it came instead."""

    def encrypts(self) -> bool | None:
        """Whether its kernel can encrypt what passes between machines; None: that cannot be seen."""

    def homes_trial(self, step: str, **given: Any) -> Any:
        """A step of trying out whether homes can be in a directory: make, write, read or remove; see
        `agent.homestrial`."""

    def manifests(self, images: Sequence[str], authorities: str) -> dict[str, list[str]]:
        """What registries say of images, as seen from the machine; see `agent.registry.manifests`."""

    def registry_access(self, images: Sequence[str], authorities: str, give: bool) -> dict[str, list[str]]:
        """The same as root is logged in there, and whether they could be given; see `agent.registry.access`."""

    def certificate(self, address: str, port: int, name: str) -> str:
        """The certificate (PEM) that is shown there to who asks for ``name``. Raises OSError if there is none."""

    def read_log(self, container: str, lines: int, after: str) -> Said:
        """What a container said; see `agent.logs.read_log`."""

    def secret(self, what: str) -> str:
        """What a step on another machine needs of this one, such as a token; see `agent.secret`."""

    def load(self, parts: Mapping[str, int]) -> dict[str, Any]:
        """What the machine has and how busy it is, and so processes of it by name; see `agent.load.load`."""

    def footprints(self, parts: Mapping[str, int], labels: Mapping[str, str], label: str) -> dict[str, Any]:
        """What processes and containers take; see `agent.load.footprints`."""

    def close(self) -> None:
        """End the connection, if there is one."""
