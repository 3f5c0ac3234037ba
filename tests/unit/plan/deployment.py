"""A small real deployment below a folder, and a program that deploys it and dies where it is told to.

    python deployment.py FOLDER second 17     # killed at the 17th change to the disk

Two versions: `second` changes a file, drops one, adds a secret one, a directory and an environment.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from hubfleet.agent.lock import hold
from hubfleet.machines import LocalMachine
from hubfleet.plan import Desired, Event, Generations, Plan, apply_plan, make_plan
from hubfleet.resources import Directory, Environment, File, Resource, tree_digest

SIX = "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n"
CANARY = "canary-5b1f0c2e"
MACHINES = {"local": LocalMachine()}
DISK_EVENTS = {"os.chmod", "os.chown", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink"}
STARTS = {"subprocess.Popen", "fcntl.flock"}


def environment(folder: Path) -> Environment:
    """One locked package and one copied directory, beside the deployment."""
    copies = ((str(folder / "source"), "copied"),)
    wanted = Environment(
        path="",
        label="small",
        python=sys.executable,
        lock=SIX,
        copies=copies,
        copies_digest=tree_digest(copies),
    )
    return wanted.placed(str(folder / "site"))


def desired(folder: Path, version: str, *, with_environment: bool = False) -> Desired:
    """What the deployment should consist of: `first`, `second` or `none`."""
    site = folder / "site"
    resources: dict[str, tuple[Resource, ...]] = {
        "none": (),
        "first": (
            Directory(str(site)),
            File(str(site / "kept"), "one\ntwo\n", mode=0o640),
            File(str(site / "dropped"), "x\n"),
        ),
        "second": (
            Directory(str(site), mode=0o711),
            Directory(str(site / "inner"), mode=0o700),
            File(str(site / "kept"), "one\nthree\n", mode=0o644),
            File(str(site / "inner" / "secret"), f"{CANARY}\n", mode=0o600, secret=True),
        ),
    }
    wanted = resources[version]
    if with_environment:
        wanted += (environment(folder),)
    return Desired("test", folder / "state", {"local": wanted})


def deploy(wanted: Desired) -> tuple[Plan, list[Event]]:
    """The whole of `hubfleet up`: lock, plan, record, apply, switch."""
    events: list[Event] = []
    generations = Generations(wanted.state_dir)
    with hold(wanted.state_dir):
        plan = make_plan(wanted, MACHINES, generations.known())
        number = generations.begin(plan)
        apply_plan(plan, MACHINES, events.append)
        generations.switch(number)
    return plan, events


def plan_now(wanted: Desired) -> Plan:
    """What `hubfleet plan` would say."""
    return make_plan(wanted, MACHINES, Generations(wanted.state_dir).known())


def die_at(count: int) -> None:
    """Kills this process before its `count`-th change to the disk (or start of a program)."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in DISK_EVENTS or event in STARTS:
            seen += 1
            if seen == count:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    goal = desired(here, sys.argv[2], with_environment="environment" in sys.argv)
    if sys.argv[3].isdigit():
        die_at(int(sys.argv[3]))
    deploy(goal)
