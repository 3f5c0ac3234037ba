"""This machine's own meter: its processor and memory, and those of processes on it.

Only as far as this process may look: other accounts' memory takes root.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Mapping

from hubfleet.loadtest.watch import Footprint, Part, Reading, Size
from hubfleet.procfiles import PROC, busy_seconds, cpu_seconds, main_thread, memory, own_cpu_seconds, pss


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


class Here:
    """Implements `watch.Meter`. ``parts``: the hub's processes by name. ``servers``: process id of each person's server
    by name, for servers that cannot be found by their environment."""

    def __init__(self, parts: Mapping[str, int] | None = None, servers: Callable[[], Mapping[str, int]] = dict) -> None:
        self._parts, self._servers = dict(parts or {}), servers

    def size(self) -> Size:
        """Of this machine."""
        return Size(os.cpu_count() or 1, *memory())

    def read(self) -> Reading:
        """What it has used."""
        total, available = memory()
        return Reading(busy_seconds(), total - available, {name: self._cpu(name) for name in self._parts})

    def parts(self) -> dict[str, Part]:
        """The hub's processes."""
        return {name: Part(self._pss(pid), self._first_thread(pid)) for name, pid in self._parts.items()}

    def people(self, names: set[str]) -> tuple[dict[str, Footprint], str | None]:
        """Everybody's processes."""
        return footprints(names, self._servers())

    def _cpu(self, name: str) -> float:
        with contextlib.suppress(OSError):
            return own_cpu_seconds(PROC / str(self._parts[name]) / "stat")
        return 0.0

    @staticmethod
    def _pss(pid: int) -> int:
        with contextlib.suppress(OSError):
            return pss(pid)
        return 0

    @staticmethod
    def _first_thread(pid: int) -> float | None:
        with contextlib.suppress(OSError):
            return own_cpu_seconds(main_thread(pid))
        return None
