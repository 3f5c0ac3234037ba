"""Processes under a real supervisor: here a shell that sleeps stands for hub, proxy and launcher."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubfleet.machines import LocalMachine, Machine
from hubfleet.plan import Desired, apply_plan, make_plan
from hubfleet.plan.model import Manifest
from hubfleet.resources import Process
from hubfleet.supervisor.spec import ProcessSpec, SupervisorStatus, write_spec


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A supervisor's directory; whatever supervisor runs at the end is stopped."""
    yield tmp_path
    if supervisor := SupervisorStatus.read(tmp_path):
        os.kill(supervisor.pid, signal.SIGTERM)
        os.waitpid(supervisor.pid, 0)


def sleeper(directory: Path, name: str, order: int, version: str) -> Process:
    return Process(
        name=name,
        directory=str(directory),
        supervisor=(sys.executable, "-m", "hubfleet.supervisor.daemon", str(directory)),
        order=order,
        argv=("/bin/sleep", "600"),
        environment={"VERSION": version},
        log=str(directory / f"{name}.log"),
    )


def test_a_stopped_hub_starts_in_its_new_version_only(directory: Path) -> None:
    """What an earlier supervisor was told must not start before its own step: it is old, and not what was planned."""
    for order, name in enumerate(("launcher", "proxy")):
        old = sleeper(directory, name, order, "old")
        spec = ProcessSpec(name, order, old.argv, old.environment, old.fingerprint, old.log)
        write_spec(directory / f"{name}.process.json", spec)
    wanted = tuple(sleeper(directory, name, order, "new") for order, name in enumerate(("launcher", "proxy")))
    machines: dict[str, Machine] = {"this machine": LocalMachine("this machine")}
    desired = Desired("physics101", directory, {"this machine": wanted}, ())
    plan = make_plan(desired, machines, Manifest())
    assert [change.action for _, change in plan.changes] == ["start", "start"]
    apply_plan(plan, machines, lambda event: None)
    assert make_plan(desired, machines, Manifest()).empty
