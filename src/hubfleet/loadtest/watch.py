"""What the class costs: processor and memory of the machines, of the hub's parts, and of each person.

What cannot be measured is left out and said, never guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

EVERY_S = 0.5


@dataclass(frozen=True)
class Sample:
    """One moment. ``at``: seconds since the class began. ``cpu``: of the machines' cores, how many are busy.

    ``parts`` and ``client``: cores that each part of the hub, and this client, keep busy. ``memory``: bytes in use.
    """

    at: float
    cpu: float
    memory: int
    parts: dict[str, float]
    client: float


@dataclass
class Footprint:
    """What one person's processes hold and have used: memory in bytes (PSS), processor time in seconds."""

    pss: int
    cpu_s: float
    processes: int


@dataclass
class Watched:
    """Everything that was measured on the machines that servers run on; `not_measured` says what was not, and why.

    ``people`` were looked at ``looked_at`` seconds after the class began; their processes end after that.
    ``hub_loop_cpu_s``: of the hub's processor time, what its loop took, the one thread through which every request
    goes; None where no hub was looked at. The rest is of threads beside it, which hash passwords on other cores.
    ``machines``: how many; their cores and memory are added up. ``hub_here``, ``client_here``: whether the hub's parts,
    and this client, are on one of them.
    """

    cores: int
    memory_total: int
    memory_available_before: int
    samples: list[Sample] = field(default_factory=list)
    people: dict[str, Footprint] = field(default_factory=dict)
    looked_at: float | None = None
    parts_pss: dict[str, tuple[int, int]] = field(default_factory=dict)
    parts_cpu_s: dict[str, float] = field(default_factory=dict)
    hub_loop_cpu_s: float | None = None
    client_cpu_s: float = 0.0
    client_lag_s: float = 0.0
    not_measured: list[str] = field(default_factory=list)
    machines: int = 1
    hub_here: bool = True
    client_here: bool = True


@dataclass(frozen=True)
class Size:
    """What there is to be had: cores, and bytes of memory. For the last three see `Watched`."""

    cores: int
    memory_total: int
    memory_available: int
    machines: int = 1
    hub_here: bool = True
    client_here: bool = True


@dataclass(frozen=True)
class Reading:
    """One moment. ``busy_s``: of all cores since their machines started. ``memory``: bytes in use.

    ``parts``: processor time in seconds of each of the hub's parts.
    """

    busy_s: float
    memory: int
    parts: dict[str, float]


@dataclass(frozen=True)
class Part:
    """One of the hub's parts: memory in bytes (PSS; 0 where it cannot be seen), and the processor time of its first
    thread in seconds, None where that cannot be seen."""

    pss: int
    first_thread_s: float | None


class Meter(Protocol):
    """Measures the machines that a hub is on. Its methods block, and raise OSError where nothing can be asked."""

    def size(self) -> Size:
        """Of the machines that servers run on."""

    def read(self) -> Reading:
        """What has been used until now."""

    def parts(self) -> dict[str, Part]:
        """The hub's own, by name: "hub" is the hub itself."""

    def people(self, names: set[str]) -> tuple[dict[str, Footprint], str | None]:
        """What each person's processes hold now; and why that of some could not be seen, or None."""


class Watch:
    """Watches with a meter while it is entered."""

    def __init__(self, meter: Meter, clock: Callable[[], float]) -> None:
        self._meter, self._clock = meter, clock
        self.watched = Watched(0, 0, 0)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watch:
        size = await asyncio.to_thread(self._meter.size)
        # The same object from the beginning: who shows it has it already.
        self.watched.cores, self.watched.memory_total = size.cores, size.memory_total
        self.watched.memory_available_before, self.watched.machines = size.memory_available, size.machines
        self.watched.hub_here, self.watched.client_here = size.hub_here, size.client_here
        self._before = await asyncio.to_thread(self._meter.parts)
        self._begin = await asyncio.to_thread(self._meter.read)
        self._task = asyncio.create_task(self._watch(self._begin))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def look_at_people(self, names: set[str]) -> None:
        """Measure everybody's processes, and the hub's parts, now."""
        try:
            await self._look(names)
        except OSError as error:
            self.watched.not_measured.append(f"what people's servers and the hub hold: {error}")

    async def _look(self, names: set[str]) -> None:
        found, missing = await asyncio.to_thread(self._meter.people, names)
        self.watched.people, self.watched.looked_at = found, self._clock()
        if missing:
            self.watched.not_measured.append(missing)
        now, read = await asyncio.to_thread(self._meter.parts), await asyncio.to_thread(self._meter.read)
        for name, part in now.items():
            before = self._before[name]
            self.watched.parts_pss[name] = (before.pss, part.pss)
            self.watched.parts_cpu_s[name] = read.parts[name] - self._begin.parts[name]
            if not part.pss:
                self.watched.not_measured.append(f"memory of {name}: only root may look, or it has ended")
            if name == "hub" and None not in (part.first_thread_s, before.first_thread_s):
                self.watched.hub_loop_cpu_s = (part.first_thread_s or 0.0) - (before.first_thread_s or 0.0)

    async def _watch(self, last: Reading) -> None:
        moment = time.monotonic()
        own = first_own = time.thread_time()
        while True:
            slept = time.monotonic()
            await asyncio.sleep(EVERY_S)
            self.watched.client_lag_s = max(self.watched.client_lag_s, time.monotonic() - slept - EVERY_S)
            try:
                reading = await asyncio.to_thread(self._meter.read)
            except OSError as error:
                why = f"processor and memory after {self._clock():.0f} s: {error}"
                if not any(text.startswith("processor and memory") for text in self.watched.not_measured):
                    self.watched.not_measured.append(why)
                continue
            now, own_now = time.monotonic(), time.thread_time()
            passed = now - moment
            self.watched.client_cpu_s = own_now - first_own
            self.watched.samples.append(
                Sample(
                    self._clock(),
                    (reading.busy_s - last.busy_s) / passed,
                    reading.memory,
                    {name: max(0.0, used - last.parts[name]) / passed for name, used in reading.parts.items()},
                    (own_now - own) / passed,
                )
            )
            last, moment, own = reading, now, own_now
