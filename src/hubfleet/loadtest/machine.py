"""What the class costs the machine: processor and memory of the whole, of the hub's parts, and of each person.

Only on the machine itself, and only as far as this process may look: other accounts' memory takes root. What cannot be
measured is left out and said, never guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

with contextlib.suppress(ImportError):  # a hub's own image has none, and nothing is measured there
    import psutil

EVERY_S = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True)
class Sample:
    """One moment. ``at``: seconds since the class began. ``cpu``: of the machine's cores, how many are busy.

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
    """Everything that was measured on the machine; `not_measured` says what was not, and why.

    ``people`` were looked at ``looked_at`` seconds after the class began; their processes end after that.
    ``hub_loop_cpu_s``: of the hub's processor time, what its loop took, the one thread through which every request
    goes; None where no hub was looked at. The rest is of threads beside it, which hash passwords on other cores.
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


def pss(pid: int) -> int:
    """A process's share of memory in bytes. Raises OSError when it is gone or may not be looked at."""
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_seconds(pid: int) -> float:
    """The processor time of a process and of its children that have ended. Raises OSError when it is gone."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return sum(int(value) for value in fields[11:15]) / _TICKS


def own_cpu_seconds(stat: Path) -> float:
    """The processor time of the process, or of the one thread, that this file in /proc tells of.

    Raises OSError when it is gone.
    """
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def main_thread(pid: int) -> Path:
    """The file that tells of a process's first thread: a hub's loop runs there."""
    return PROC / str(pid) / "task" / str(pid) / "stat"


def _processes() -> dict[int, tuple[int, int]]:
    """Every process: its parent and its user id."""
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                found[int(entry.name)] = (parent, entry.stat().st_uid)
    return found


def _named(pids: Mapping[int, tuple[int, int]], names: set[str]) -> dict[str, list[int]]:
    """Processes whose environment says that they are the server of one of these people."""
    found: dict[str, list[int]] = defaultdict(list)
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                if entry.startswith(b"JUPYTERHUB_USER="):
                    name = entry.partition(b"=")[2].decode(errors="replace")
                    if name in names:
                        found[name].append(pid)
    return found


def processes_of(names: set[str], known: Mapping[str, int]) -> dict[str, set[int]]:
    """Each person's processes: those of the server (``known``, or found by its environment), those it started, and,
    where each person has a user id of their own, all of that id."""
    pids = _processes()
    roots = _named(pids, names - set(known))
    for name, pid in known.items():
        if name in names and pid in pids:
            roots[name].append(pid)
    children: dict[int, list[int]] = defaultdict(list)
    by_uid: dict[int, set[int]] = defaultdict(set)
    for pid, (parent, uid) in pids.items():
        children[parent].append(pid)
        by_uid[uid].add(pid)
    uids = {name: pids[found[0]][1] for name, found in roots.items() if found}
    own_ids = len(set(uids.values())) == len(uids) and not {0, os.geteuid()} & set(uids.values())
    if not own_ids:  # forked kernels are no children of their server; another account's hub may have the same names
        for name, found in _named(pids, names & set(known)).items():
            roots[name] += [pid for pid in found if pids[pid][1] == uids.get(name)]
    result = {}
    for name, found in roots.items():
        mine, waiting = set(found), list(found)
        while waiting:
            new = [pid for pid in children[waiting.pop()] if pid not in mine]
            mine.update(new)
            waiting += new
        result[name] = mine | (by_uid[uids[name]] if own_ids else set())
    return result


def footprints(names: set[str], known: Mapping[str, int]) -> tuple[dict[str, Footprint], str | None]:
    """What each person's processes hold now; and why that of some could not be seen, or None."""
    found, hidden = {}, 0
    for name, pids in processes_of(names, known).items():
        memory, cpu = 0, 0.0
        try:
            for pid in pids:
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    memory, cpu = memory + pss(pid), cpu + cpu_seconds(pid)
        except PermissionError:
            hidden += 1
            continue
        if memory:
            found[name] = Footprint(memory, cpu, len(pids))
    if hidden:
        return found, f"memory of {hidden} people's servers: only root may look (try sudo)"
    if len(found) < len(names):
        return found, f"memory of {len(names) - len(found)} people's servers: no such process is visible here"
    return found, None


class Machine:
    """Watches this machine while it is entered. ``parts``: the hub's processes by name."""

    def __init__(self, parts: Mapping[str, int], clock: Callable[[], float]) -> None:
        self._parts, self._clock = dict(parts), clock
        memory = psutil.virtual_memory()
        self.watched = Watched(psutil.cpu_count() or 1, memory.total, memory.available)
        self._before = {name: self._part_pss(name) for name in self._parts}
        self._begin = {name: self._part_cpu(name) for name in self._parts}
        self._loop_begin = self._hub_loop_cpu()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Machine:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def look_at_people(self, names: set[str], known: Mapping[str, int]) -> None:
        """Measure everybody's processes, and the hub's parts, now."""
        found, missing = await asyncio.to_thread(footprints, names, known)
        self.watched.people, self.watched.looked_at = found, self._clock()
        if missing:
            self.watched.not_measured.append(missing)
        if (loop := self._hub_loop_cpu()) is not None and self._loop_begin is not None:
            self.watched.hub_loop_cpu_s = loop - self._loop_begin
        for name in self._parts:
            self.watched.parts_pss[name] = (self._before[name], self._part_pss(name))
            self.watched.parts_cpu_s[name] = self._part_cpu(name) - self._begin[name]
            if not self.watched.parts_pss[name][1]:
                self.watched.not_measured.append(f"memory of {name}: only root may look, or it has ended")

    async def _watch(self) -> None:
        busy, moment, own = self._busy(), time.monotonic(), time.thread_time()
        parts = {name: self._part_cpu(name) for name in self._parts}
        began = own
        while True:
            await asyncio.sleep(EVERY_S)
            now, busy_now, own_now = time.monotonic(), self._busy(), time.thread_time()
            parts_now = {name: self._part_cpu(name) for name in self._parts}
            passed = now - moment
            self.watched.client_lag_s = max(self.watched.client_lag_s, passed - EVERY_S)
            self.watched.client_cpu_s = own_now - began
            memory = psutil.virtual_memory()
            self.watched.samples.append(
                Sample(
                    self._clock(),
                    (busy_now - busy) / passed,
                    memory.total - memory.available,
                    {name: max(0.0, parts_now[name] - parts[name]) / passed for name in parts},
                    (own_now - own) / passed,
                )
            )
            busy, moment, own, parts = busy_now, now, own_now, parts_now

    @staticmethod
    def _busy() -> float:
        times = psutil.cpu_times()
        # Time given to guests is in the user's time already.
        return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)

    def _part_pss(self, name: str) -> int:
        with contextlib.suppress(OSError):
            return pss(self._parts[name])
        return 0

    def _part_cpu(self, name: str) -> float:
        with contextlib.suppress(OSError):
            return own_cpu_seconds(PROC / str(self._parts[name]) / "stat")
        return 0.0

    def _hub_loop_cpu(self) -> float | None:
        with contextlib.suppress(OSError, KeyError):
            return own_cpu_seconds(main_thread(self._parts["hub"]))
        return None
