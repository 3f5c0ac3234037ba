"""The machine hubfleet runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def sources(self) -> dict[str, list[str]]:
        from hubfleet.agent import sources

        return sources.sources()

    def listen(self, mark: str) -> None:
        from hubfleet.agent import ways

        ways.listen(mark)

    def call(self, mark: str, sender: str, targets: Sequence[Sequence[str]]) -> list[list[str]]:
        from hubfleet.agent import ways

        return ways.call(mark, sender, targets)

    def heard(self, expected: Sequence[Sequence[str]]) -> list[list[str]]:
        from hubfleet.agent import ways

        return ways.heard(expected)

    def encrypts(self) -> bool | None:
        from hubfleet.agent import encryption

        return encryption.encrypts()

    def homes_trial(self, step: str, **given: Any) -> Any:
        from hubfleet.agent import homestrial

        return homestrial.STEPS[step](**given)

    def manifests(self, images: Sequence[str], authorities: str) -> dict[str, list[str]]:
        from hubfleet.agent import registry

        return registry.manifests(images, authorities)

    def registry_access(self, images: Sequence[str], authorities: str, give: bool) -> dict[str, list[str]]:
        from hubfleet.agent import registry

        return registry.access(images, authorities, give=give)

    def certificate(self, address: str, port: int, name: str) -> str:
        from hubfleet.agent import outside

        return outside.certificate(address, port, name)

    def read_log(self, container: str, lines: int, after: str) -> Said:
        return logs.read_log(container, lines, after)

    def secret(self, what: str) -> str:
        from hubfleet.agent import secrets

        return secrets.secret(what)

    def load(self, parts: Mapping[str, int]) -> dict[str, Any]:
        from hubfleet.agent import load

        return load.load(parts)

    def footprints(self, parts: Mapping[str, int], labels: Mapping[str, str], label: str) -> dict[str, Any]:
        from hubfleet.agent import load

        return load.footprints(parts, labels, label)

    def close(self) -> None:
        """There is no connection."""
