"""A hub's parts as processes of this machine, kept running by hubfleet's supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hubfleet.cli.parts import Part, launcher_words
from hubfleet.config import Config
from hubfleet.engines.base import Engine, Supervision
from hubfleet.errors import ApplyError
from hubfleet.launcher.base import Record, Stopped
from hubfleet.launcher.servers import Servers
from hubfleet.launcher.state import Records
from hubfleet.layout import Layout
from hubfleet.logfiles import tail
from hubfleet.supervisor.spec import SupervisorStatus

STOP_LIMIT_S = 60


class SupervisedParts:
    """Implements ``parts.Parts``."""

    names: tuple[str, ...] = ("launcher", "proxy", "hub")
    logs: tuple[str, ...] = ("hub", "proxy", "launcher", "supervisor")
    keeper = "its supervisor"

    def __init__(self, layout: Layout, engine: Engine, supervision: Supervision) -> None:
        self._layout, self._engine, self._supervision = layout, engine, supervision

    def statuses(self) -> Mapping[str, Part] | None:
        supervisor = self._supervisor()
        if supervisor is None:
            return None
        return {
            name: Part(entry.state, entry.since, entry.restarts, entry.pid)
            for name, entry in supervisor.processes.items()
        }

    def starts_take_room_at(self) -> str:
        return ""

    def _supervisor(self) -> SupervisorStatus | None:
        return SupervisorStatus.read(self._layout.supervisor_dir)

    # -- users' servers without their launcher: found by its records, ended by its engine ------------------------------

    def servers(self) -> list[dict[str, Any]]:
        return [record.to_json() for record in self._records()]

    def _records(self) -> list[Record]:
        async def look() -> list[Record]:
            directory = self._layout.launcher_dir
            if not (directory / "servers").is_dir():
                return []
            launch = self._engine.launch(self._settings()["engine"])
            records = Records(directory / "servers").load().values()
            return [record for record in records if not isinstance(await launch.poll(record), Stopped)]

        return asyncio.run(look())

    def _settings(self) -> dict[str, dict[str, object]]:
        data: dict[str, dict[str, object]] = json.loads((self._layout.launcher_dir / "launcher.json").read_text())
        return data

    # -- stop ---------------------------------------------------------------------------------------------------------

    def stop(self) -> int:
        """The servers come last and need no launcher, so that one that hangs is no obstacle."""
        supervisor = self._supervisor()
        if supervisor is not None:
            self._stop_supervisor(supervisor)
        return self._stop_servers()

    def _stop_supervisor(self, supervisor: SupervisorStatus) -> None:
        unit = self._layout.unit
        if self._supervision == "systemd":
            done = subprocess.run(["systemctl", "disable", "--now", unit], capture_output=True, text=True)
            if done.returncode != 0:
                raise ApplyError(
                    f"systemctl disable --now {unit}: {done.stderr.strip()}", remedy=f"systemctl status {unit}"
                )
            self._layout.unit_file.unlink(missing_ok=True)
            subprocess.run(["systemctl", "daemon-reload"], check=False)
        else:
            os.kill(supervisor.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_LIMIT_S
        while self._supervisor() is not None:
            if time.monotonic() > deadline:
                raise ApplyError(
                    f"the supervisor (process {supervisor.pid}) does not end", remedy="hubfleet logs supervisor"
                )
            time.sleep(0.1)

    def _stop_servers(self) -> int:
        async def stop() -> int:
            settings = self._settings()
            launch = self._engine.launch(settings["engine"])
            servers = Servers(Config.from_dump(settings["config"]), launch, self._layout.launcher_dir / "servers")
            await servers.adopt()
            return await servers.stop_all()

        return asyncio.run(stop()) if self._records() else 0

    # -- logs ---------------------------------------------------------------------------------------------------------

    def log(self, what: str, lines: int, follow: bool) -> Iterator[str] | None:
        part = what in self.logs
        path = self._layout.logs / f"{what}.log" if part else self._layout.logs / "servers" / f"{what}.log"
        told = [] if part else launcher_words(tail(self._layout.logs / "launcher.log", 5000), what)
        if not path.exists() and not told:
            return None
        return _lines(path, told, lines, follow)


def _lines(path: Path, told: list[str], lines: int, follow: bool) -> Iterator[str]:
    end = _size(path)
    yield from [*told, *tail(path, lines, end)]
    if follow:
        yield from follow_file(path, end)


def follow_file(path: Path, position: int) -> Iterator[str]:
    """Lines as they are appended behind ``position``, also after the file was emptied by rotation. Never ends."""
    rest = ""
    while True:
        size = _size(path)
        if size < position:
            position = 0
        if size > position:
            with open(path, encoding="utf-8", errors="replace") as file:
                file.seek(position)
                rest += file.read()
                position = file.tell()
            *complete, rest = rest.split("\n")
            yield from complete
        time.sleep(0.3)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
