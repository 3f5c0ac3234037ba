"""A hub's parts as containers on its machine, and users' servers as services of the swarm that it manages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from hubfleet.agent.trial import HUB_LABEL
from hubfleet.cli.contained import FOLLOW_EVERY_S, FOLLOW_LINES, STOP_LIMIT_S, ContainedParts
from hubfleet.cli.parts import launcher_words
from hubfleet.unixhttp import Refused

_NO_MANAGER = (406, 503)
"""What an engine answers that is in no swarm, or does not manage it."""


class FleetParts(ContainedParts):
    """Implements ``parts.Parts``."""

    def running_servers(self) -> set[str]:
        return {labels["hubfleet.server"] for labels in self._services().values()}

    def end_servers(self) -> int:
        """Each machine ends its own, once the manager knows that they are not wanted."""
        services = self._services()
        for service in services:
            self._ask("DELETE", f"/services/{service}", STOP_LIMIT_S)
        return len(services) + super().end_servers()  # those of a trial

    def _services(self) -> dict[str, dict[str, str]]:
        """Id of the service of each user's server, with its labels."""
        wanted = json.dumps({"label": [f"{HUB_LABEL}={self._layout.hub}"]})
        try:
            found: list[dict[str, Any]] = self._ask("GET", "/services", filters=wanted)
        except FileNotFoundError:
            return {}
        except Refused as refusal:
            if refusal.status in _NO_MANAGER:
                return {}
            raise
        return {one["ID"]: one["Spec"]["Labels"] for one in found if "hubfleet.server" in one["Spec"]["Labels"]}

    def server_log(self, what: str, lines: int, follow: bool) -> Iterator[str] | None:
        """The launcher writes it down, from whichever machine it comes."""
        told = launcher_words(self._machine.read_log(self._containers["launcher"], 5000, "").lines, what)
        kept = self._machine.store.read(self._kept_log(what))
        return self._followed(what, told, lines, follow) if told or kept else None

    def _followed(self, what: str, told: list[str], lines: int, follow: bool) -> Iterator[str]:
        yield from told
        shown: list[str] = []
        while True:
            kept = (self._machine.store.read(self._kept_log(what)) or "").splitlines()
            # One that begins as before has grown; another one was begun anew.
            new = kept[len(shown) :] if kept[: len(shown)] == shown else kept
            yield from new[-lines:]
            shown, lines = kept, FOLLOW_LINES
            if not follow:
                return
            time.sleep(FOLLOW_EVERY_S)
