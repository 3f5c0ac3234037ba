"""The machine hubfleet runs on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubfleet import agent, unixhttp
from hubfleet.agent import Holder, Progress, Said, Store
from hubfleet.resources import Change, Observed, Resource


@dataclass(frozen=True)
class LocalMachine:
    """This machine; the agent runs in this process."""

    name: str = "local"
    store: Store = field(default_factory=Store)
    address: str = ""

    def open(self) -> None:
        """There is no connection."""

    def observe(self, resources: Sequence[Resource]) -> dict[str, Observed | None]:
        return agent.observe(resources)

    def apply(self, change: Change, progress: Progress) -> bool:
        return agent.apply(change, progress)

    def hold(self, directory: str) -> AbstractContextManager[Holder]:
        return agent.hold(Path(directory))

    def facts(self) -> dict[str, Any]:
        return agent.facts()

    def request(self, path: str, method: str, target: str, body: Any, token: str | None, timeout: float) -> Any:
        return unixhttp.request(Path(path), method, target, body, token, timeout)

    def connect(self, address: str, port: int) -> None:
        agent.connect(address, port)

    def probe(self, names: Sequence[str], targets: Sequence[tuple[str, int]]) -> dict[str, Any]:
        return agent.probe(names, targets)

    def manifests(self, images: Sequence[str], authorities: str) -> dict[str, list[str]]:
        return agent.manifests(images, authorities)

    def certificate(self, address: str, port: int, name: str) -> str:
        return agent.certificate(address, port, name)

    def read_log(self, container: str, lines: int, after: str) -> Said:
        return agent.read_log(container, lines, after)

    def secret(self, what: str) -> str:
        return agent.secret(what)

    def close(self) -> None:
        """There is no connection."""
