"""A deployment that is killed anywhere converges when it is run again; then nothing is left to do."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hubfleet.plan import Generations
from unit.plan import deployment
from unit.plan.deployment import CANARY, deploy, desired, plan_now

SCRIPT = [sys.executable, str(Path(deployment.__file__))]


def converges(folder: Path, *, with_environment: bool) -> None:
    """The second run finishes, the third plan is empty, and nothing of the kill is left."""
    wanted = desired(folder, "second", with_environment=with_environment)
    deploy(wanted)
    assert plan_now(wanted).to_json() == {"hub": "test", "settings": [], "changes": [], "notes": []}
    site = folder / "site"
    names = {
        "inner",
        "kept",
        *({wanted.machines["local"][-1].key.split("/")[-1]} if with_environment else ()),
    }
    assert {entry.name for entry in site.iterdir()} == names
    assert [entry.name for entry in (site / "inner").iterdir()] == ["secret"]
    assert (site / "inner" / "secret").read_text() == f"{CANARY}\n"
    if with_environment:
        python = f"{wanted.machines['local'][-1].key}/bin/python"
        subprocess.run([python, "-c", "import six, copied.module as m; assert m.answer == 42"], check=True)
    generations = Generations(wanted.state_dir)
    assert generations.current() == generations.numbers()[-1]
    assert {entry.name[0] for entry in generations.path.iterdir()} <= {"0", "c"}


def run_until(folder: Path, count: int, *extra: str) -> int:
    """Deploys the second version in a process that dies at its `count`-th change; its exit status."""
    done = subprocess.run([*SCRIPT, str(folder), "second", str(count), *extra], capture_output=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


def prepared(folder: Path) -> Path:
    """A folder with the first version deployed."""
    (folder / "source").mkdir(parents=True)
    (folder / "source" / "module.py").write_text("answer = 42\n")
    deploy(desired(folder, "first"))
    return folder


def test_killed_before_every_change_to_the_disk(tmp_path: Path) -> None:
    count = 0
    while True:
        count += 1
        folder = prepared(tmp_path / str(count))
        finished = run_until(folder, count) == 0
        converges(folder, with_environment=False)
        if finished:
            break
    assert count > 25  # the kill did fall into each step, not only between them


@pytest.mark.parametrize("moment", range(8))
def test_killed_at_any_moment_with_an_environment(tmp_path: Path, moment: int) -> None:
    folder = prepared(tmp_path)
    process = subprocess.Popen([*SCRIPT, str(folder), "second", "never", "environment"])
    time.sleep(random.Random(moment).uniform(0.15, 0.6))
    process.kill()
    process.wait()
    converges(folder, with_environment=True)


@pytest.mark.parametrize("count", range(26, 50, 2))
def test_killed_inside_the_build(tmp_path: Path, count: int) -> None:
    folder = prepared(tmp_path)
    assert run_until(folder, count, "environment") == -signal.SIGKILL
    converges(folder, with_environment=True)


def test_of_two_deployments_at_once_one_wins_and_nothing_is_torn(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    command = [*SCRIPT, str(folder), "second", "never", "environment"]
    two = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in two]
    assert 0 in [process.returncode for process in two]
    assert all("LockedError" in text for text in said if text)
    converges(folder, with_environment=True)


def test_files_of_a_killed_deployment_that_are_given_up_are_removed(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    process = subprocess.run([*SCRIPT, str(folder), "second", "22"], check=False)
    assert process.returncode == -signal.SIGKILL
    deploy(desired(folder, "none"))
    assert [entry.name for entry in (folder / "site").rglob("*") if entry.is_file()] == []
    assert plan_now(desired(folder, "none")).empty
