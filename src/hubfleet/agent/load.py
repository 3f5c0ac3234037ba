"""What a hub's parts and users' servers take of this machine, where they are containers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from hubfleet.agent.docker import Engine
from hubfleet.procfiles import PROC, busy_seconds, cpu_seconds, main_thread, memory, own_cpu_seconds, pss

_REAPER = "docker-init"
_CONTAINER = re.compile(r"[0-9a-f]{64}")


def load(parts: Mapping[str, int]) -> dict[str, Any]:
    """The machine's cores, how long these have been busy in all (``busy_s``), its memory and what of it is free.

    parts: process ids, by name. Of each, in the answer: ``cpu_s``; 0.0 where it is gone.
    """
    total, available = memory()
    used = {}
    for name, pid in parts.items():
        used[name] = 0.0
        with suppress(OSError):
            used[name] = own_cpu_seconds(PROC / str(_program(pid)) / "stat")
    return {
        "cores": os.cpu_count() or 1,
        "busy_s": busy_seconds(),
        "memory": total,
        "available": available,
        "cpu_s": used,
    }


def footprints(parts: Mapping[str, int], labels: Mapping[str, str], label: str) -> dict[str, Any]:
    """The memory of processes, in bytes (PSS), and their processor time in seconds.

    parts:  process ids by name; in the answer by name ``pss`` and ``first_thread_s``, of those that are there.
    labels: of the containers that are wanted; label: by whose value these are told apart. In the answer, ``servers``
            has by that value ``pss``, ``cpu_s`` and ``processes``.
    """
    found: dict[str, Any] = {"parts": {}, "servers": {}}
    for name, pid in parts.items():
        with suppress(OSError):
            program = _program(pid)
            found["parts"][name] = {"pss": pss(program), "first_thread_s": own_cpu_seconds(main_thread(program))}
    wanted = [f"{name}={value}" for name, value in labels.items()] + [label]
    listed = Engine().get("/containers/json", filters=json.dumps({"label": wanted}))
    named = {one["Id"]: one["Labels"][label] for one in listed}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            inside = set(_CONTAINER.findall((entry / "cgroup").read_text())) & named.keys()
            for container in inside:
                pid = int(entry.name)
                taken, used = pss(pid), cpu_seconds(pid)
                sums = found["servers"].setdefault(named[container], {"pss": 0, "cpu_s": 0.0, "processes": 0})
                sums["pss"] += taken
                sums["cpu_s"] += used
                sums["processes"] += 1
    return found


def _program(pid: int) -> int:
    """What a container is there for, where its first process only starts that and reaps orphans.

    Raises OSError when it is gone.
    """
    if (PROC / str(pid) / "comm").read_text().strip() != _REAPER:
        return pid
    started = (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()
    return min(map(int, started), default=pid)
