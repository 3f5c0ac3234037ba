"""What the supervisor is told, and what it tells.

Each process is one JSON file in the supervisor's directory, written by `up`; ``status.json`` beside them is the answer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hubfleet.privatefiles import write_private

STATUS = "status.json"
LOCK = "lock"


@dataclass(frozen=True)
class ProcessSpec:
    """One process to keep running.

    ``order``: processes start in this order and stop in the reverse one. ``fingerprint``: changes whenever the process
    has to be started anew. ``log``: the file it appends its output to.
    """

    name: str
    order: int
    argv: tuple[str, ...]
    environment: dict[str, str]
    fingerprint: str
    log: str

    @classmethod
    def from_text(cls, text: str) -> ProcessSpec:
        data = json.loads(text)
        return cls(**{**data, "argv": tuple(data["argv"])})


def write_spec(path: Path, spec: ProcessSpec) -> None:
    """Replace a process's file in one step."""
    write_private(path, json.dumps(asdict(spec), indent=1, sort_keys=True) + "\n")


def read_specs(directory: Path) -> dict[str, ProcessSpec]:
    """All processes that are wanted, in their order. Raises ValueError for a file that is none."""
    found = [ProcessSpec.from_text(path.read_text()) for path in directory.glob("*.process.json")]
    return {spec.name: spec for spec in sorted(found, key=lambda spec: spec.order)}


@dataclass(frozen=True)
class ProcessStatus:
    """``state``: "running", "waiting" (died, will be started again after a pause) or "stopping".

    ``restarts`` counts starts after deaths; ``last_exit`` is the latest exit code, negative for a signal.
    """

    state: str
    pid: int | None
    fingerprint: str
    since: float
    restarts: int
    last_exit: int | None


@dataclass(frozen=True)
class SupervisorStatus:
    """``pid`` and ``start`` (clock ticks after boot) tell one supervisor from any other process."""

    pid: int
    start: int
    boot: str
    attached: bool
    processes: dict[str, ProcessStatus]

    def write(self, directory: Path) -> None:
        write_private(directory / STATUS, json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, directory: Path) -> SupervisorStatus | None:
        """The latest status, or None where there is none or its supervisor is gone."""
        try:
            data: dict[str, Any] = json.loads((directory / STATUS).read_text())
        except (FileNotFoundError, ValueError):
            return None
        processes = {name: ProcessStatus(**entry) for name, entry in data.pop("processes").items()}
        status = cls(**data, processes=processes)
        return status if identity(status.pid) == (status.start, status.boot) else None


def identity(pid: int) -> tuple[int, str] | None:
    """Start time (clock ticks after boot) and boot of a live process: with the id, unmistakable. None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in "ZX":
        return None
    return int(fields[19]), Path("/proc/sys/kernel/random/boot_id").read_text().strip()
