"""What the kernel's files tell of processes and of the machine: memory and processor time.

With the standard library only, since it is also asked on other machines.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE, _IOWAIT, _GUEST = 3, 4, 8
"""Columns of /proc/stat. A guest's time, in the last two, is in the user's time already."""


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


def busy_seconds() -> float:
    """For how long the machine's cores have been busy since it started, all together."""
    with open(PROC / "stat") as file:
        ticks = [int(value) for value in file.readline().split()[1:]]
    return (sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT] - sum(ticks[_GUEST:])) / _TICKS


def memory() -> tuple[int, int]:
    """The machine's memory, and what of it can be had without swapping; in bytes."""
    found = {}
    with open(PROC / "meminfo") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(value.split()[0]) * 1024
    return found["MemTotal"], found["MemAvailable"]
