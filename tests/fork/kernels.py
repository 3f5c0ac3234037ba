"""Looks at kernels, at the process they were forked from, and at what that was forked from."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from forked import children, cmdline, is_forked, launcher_log, server_pid
from harness import Kernel, Person, RunningHub, await_that

SHOWN = b"hubfleet-kernels\0"


def the_parent_of_kernels(hub: RunningHub) -> int:
    """The launcher's parent of kernels, once it is ready."""

    def ready() -> int | None:
        known = launcher_log(hub).splitlines()
        last = [line for line in known if "parent of kernels" in line or "for hub" in line][-1]
        found = [pid for pid in children(hub.pid("launcher")) if cmdline(pid) == SHOWN]
        return found[0] if found and "is ready" in last else None

    return int(await_that("the parent of kernels is ready", ready, 90) or 0)


def starters(person: Person) -> list[int]:
    """This person's starters of kernels: one for each server, or none. Where each has an own user id."""
    uid = Path(f"/proc/{server_pid(person)}").stat().st_uid
    return [pid for pid in processes_of(uid) if cmdline(pid) == SHOWN]


def processes_of(uid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if entry.stat().st_uid == uid:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def the_starter(person: Person) -> int:
    """The starter of this person's server; it is made when the server asks for its first kernel."""
    if not starters(person):
        end(person.kernel())
    return starters(person)[0]


def pid_of(kernel: Kernel) -> int:
    return int(kernel.run("import os; print(os.getpid())"))


def forked(kernel: Kernel) -> bool:
    """Whether it has the image of the parent of kernels; it has to run code for that."""
    return is_forked(pid_of(kernel), the_parent_of_kernels(kernel.person.hub))


def kill_starter(person: Person) -> None:
    """A request that comes while it dies would be answered by nobody, which is told in other words."""
    starter = the_starter(person)
    os.kill(starter, signal.SIGKILL)
    await_that("the starter has gone", lambda: not alive(starter))


def alive(pid: int) -> bool:
    """Whether it runs, and is not only not yet buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def told(kernel: Kernel) -> dict[str, Any]:
    """What the probe says of the process that the kernel is; `before`: its modules before the probe came."""
    kernel.run("import sys\nbefore = sorted(sys.modules)")
    source = (Path(__file__).parent / "probe.py").read_text()
    said = kernel.run(f"{source}\nprint('told:' + json.dumps({{'before': before, **snapshot()}}))")
    assert "told:" in said, said
    found: dict[str, Any] = json.loads(said.partition("told:")[2])
    return found


def new_kernel(person: Person, **wanted: str) -> Kernel:
    """A kernel with these in the request: name, path."""
    answer = person.jupyter("POST", "/api/kernels", json={"name": "python3", **wanted})
    assert answer.status_code == 201, answer.text
    return Kernel(person, answer.json()["id"])


def end(kernel: Kernel) -> None:
    kernel.close()
    assert kernel.person.jupyter("DELETE", f"/api/kernels/{kernel.id}").status_code == 204
