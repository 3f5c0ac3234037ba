"""Memory, CPU and process limits through Linux control groups, version 1 or 2.

One group a server. The group also names every process of the server, so that stopping it leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CPU_PERIOD_US = 100_000
_NO_LIMIT = 2**60  # version 1 has no word for it, but a number that no machine has bytes for


@dataclass(frozen=True)
class Limits:
    """What one server may use. Memory in bytes, CPU in cores; None means no limit."""

    memory: int | None = None
    memory_guarantee: int | None = None
    cpu: float | None = None
    cpu_guarantee: float | None = None
    processes: int | None = None


class Cgroups:
    """The groups of one hub, below ``<mount>/hubfleet/<hub>``.

    ``problem`` is None where limits can be enforced, else a sentence that says why not.
    """

    CONTROLLERS = ("memory", "cpu", "pids")

    def __init__(self, hub: str, mount: Path = Path("/sys/fs/cgroup")) -> None:
        self._hub = hub
        self._mount = mount
        self.version = 2 if (mount / "cgroup.controllers").exists() else 1
        self.problem = self._find_problem()

    def _find_problem(self) -> str | None:
        if os.geteuid() != 0:
            return "limits need control groups, and those need root"
        if self.version == 2:
            offered = (self._mount / "cgroup.controllers").read_text().split()
            missing = [name for name in self.CONTROLLERS if name not in offered]
        else:
            missing = [name for name in self.CONTROLLERS if not (self._mount / name / "cgroup.procs").exists()]
        if missing:
            return f"this machine offers no control group for {', '.join(missing)} under {self._mount}"
        writable = self._mount if self.version == 2 else self._mount / "memory"
        if not os.access(writable, os.W_OK):
            return f"{writable} is not writable"
        return None

    def _directories(self, server: str) -> dict[str, Path]:
        """Controller -> directory. Version 2 has one directory for all of them."""
        if self.version == 2:
            return dict.fromkeys(self.CONTROLLERS, self._mount / "hubfleet" / self._hub / server)
        return {name: self._mount / name / "hubfleet" / self._hub / server for name in self.CONTROLLERS}

    def create(self, server: str, limits: Limits) -> list[str]:
        """Make the server's group with its limits; returns the files a process writes its id to in order to join.

        Raises OSError when the kernel refuses a limit.
        """
        self.remove(server)  # one that a crash has left would keep its limits
        if self.version == 2:
            for parent in (self._mount, self._mount / "hubfleet", self._mount / "hubfleet" / self._hub):
                parent.mkdir(exist_ok=True)
                (parent / "cgroup.subtree_control").write_text("+memory +cpu +pids")
        directories = self._directories(server)
        for directory in dict.fromkeys(directories.values()):
            directory.mkdir(parents=True, exist_ok=True)
        for controller, name, value in self._settings(limits):
            (directories[controller] / name).write_text(value)
        return [str(directory / "cgroup.procs") for directory in dict.fromkeys(directories.values())]

    def _settings(self, limits: Limits) -> Iterator[tuple[str, str, str]]:
        two = self.version == 2
        if limits.memory is not None:
            yield "memory", "memory.max" if two else "memory.limit_in_bytes", str(limits.memory)
            if two and (self._mount / "hubfleet" / "memory.swap.max").exists():
                yield "memory", "memory.swap.max", "0"  # or a server past its limit would push the machine into swap
        if limits.memory_guarantee is not None:
            yield "memory", "memory.low" if two else "memory.soft_limit_in_bytes", str(limits.memory_guarantee)
        if limits.cpu is not None:
            quota = max(1000, int(limits.cpu * _CPU_PERIOD_US))
            if two:
                yield "cpu", "cpu.max", f"{quota} {_CPU_PERIOD_US}"
            else:
                yield "cpu", "cpu.cfs_period_us", str(_CPU_PERIOD_US)
                yield "cpu", "cpu.cfs_quota_us", str(quota)
        if limits.cpu_guarantee is not None:
            weight = max(1, min(10_000, int(limits.cpu_guarantee * 100)))
            yield "cpu", "cpu.weight" if two else "cpu.shares", str(weight if two else max(2, weight * 1024 // 100))
        if limits.processes is not None:
            yield "pids", "pids.max", str(limits.processes)

    def processes(self, server: str) -> list[int]:
        """Ids of all processes in the server's group; empty where there is no group."""
        found: set[int] = set()
        for directory in self._directories(server).values():
            procs = directory / "cgroup.procs"
            if procs.exists():
                found.update(int(line) for line in procs.read_text().split())
        return sorted(found)

    def kills_for_memory(self, server: str) -> int:
        """How many processes of this server the kernel has killed for going over its memory limit."""
        directory = self._directories(server)["memory"]
        events = directory / ("memory.events" if self.version == 2 else "memory.oom_control")
        if not events.exists():
            return 0
        counts = dict(line.split() for line in events.read_text().splitlines())
        return int(counts.get("oom_kill", 0))

    def memory_limit(self, server: str) -> int | None:
        """The server's memory limit in bytes; None where it has none."""
        file = self._directories(server)["memory"] / ("memory.max" if self.version == 2 else "memory.limit_in_bytes")
        text = file.read_text().strip() if file.exists() else "max"
        return None if text == "max" or int(text) > _NO_LIMIT else int(text)

    def kill(self, server: str) -> None:
        """SIGKILL to everything in the group; nothing in it can fork its way out."""
        directories = self._directories(server)
        switch = directories["memory"] / "cgroup.kill"
        if switch.exists():
            switch.write_text("1")
            return
        no_more_forks = directories["pids"] / "pids.max"
        if no_more_forks.exists():
            no_more_forks.write_text("0")
        for pid in self.processes(server):
            with contextlib.suppress(ProcessLookupError):  # it may have ended by itself in between
                os.kill(pid, signal.SIGKILL)

    def remove(self, server: str) -> bool:
        """Remove an empty group, and the hub's with its last one; False while processes are still in it."""
        directories = list(dict.fromkeys(self._directories(server).values()))
        for directory in directories:
            try:
                directory.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return False
        for directory in directories:
            with contextlib.suppress(OSError):
                directory.parent.rmdir()  # refused while another server's is inside
        return True
