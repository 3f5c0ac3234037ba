"""The machine hubfleet runs on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubfleet import unixhttp
from hubfleet.agent import converge, lock, logs
from hubfleet.agent.base import Progress
from hubfleet.agent.lock import Holder
from hubfleet.agent.logs import Said
from hubfleet.agent.store import Store
from hubfleet.resources import Change, Observed, Resource


@dataclass(frozen=True)
class LocalMachine:
    """This machine; the agent runs in this process. What takes its time to be imported waits until it is asked for."""

    name: str = "local"
    store: Store = field(default_factory=Store)
    address: str = ""

    def open(self) -> None:
        """There is no connection."""

    def observe(self, resources: Sequence[Resource]) -> dict[str, Observed | None]:
        return converge.observe(resources)

    def apply(self, change: Change, progress: Progress) -> bool:
        return converge.apply(change, progress)

    def hold(self, directory: str) -> AbstractContextManager[Holder]:
        return lock.hold(Path(directory))

    def facts(self) -> dict[str, Any]:
        from hubfleet.agent import facts

        return facts.facts()

    def request(self, path: str, method: str, target: str, body: Any, token: str | None, timeout: float) -> Any:
        return unixhttp.request(Path(path), method, target, body, token, timeout)

    def connect(self, address: str, port: int) -> None:
        from hubfleet.agent import outside

        outside.connect(address, port)

    def probe(self, names: Sequence[str], targets: Sequence[tuple[str, int]]) -> dict[str, Any]:
        from hubfleet.agent import outside

        return outside.probe(names, targets)

    def manifests(self, images: Sequence[str], authorities: str) -> dict[str, list[str]]:
        from hubfleet.agent import registry

        return registry.manifests(images, authorities)

    def certificate(self, address: str, port: int, name: str) -> str:
        from hubfleet.agent import outside

        return outside.certificate(address, port, name)

    def read_log(self, container: str, lines: int, after: str) -> Said:
        return logs.read_log(container, lines, after)

    def secret(self, what: str) -> str:
        from hubfleet.agent import secrets

        return secrets.secret(what)

    def close(self) -> None:
        """There is no connection."""
