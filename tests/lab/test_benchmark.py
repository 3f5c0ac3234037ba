"""The benchmark of deployments, on a machine of its own: that it works. What it measures is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import needs

pytestmark = needs.machines()
DEPLOY = Path(__file__).parents[2] / "benchmarks" / "deploy.py"


@pytest.mark.timeout(1800)  # the first one makes the images
def test_ours_brings_a_machine_to_what_is_wanted_and_finds_that_it_is_so() -> None:
    command = [sys.executable, str(DEPLOY), "--machines", "1", "--ours", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1780, check=False)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [(one["controller"], one["machines"]) for one in data["rounds"]] == [("hubfleet", 1)]
    assert data["rounds"][0]["seconds"].keys() == {"first", "nothing", "plan"}
    assert data["resources"] == 40
    assert len(data["unchanged_up"]) == 5
    [state] = data["states"]
    assert state.count(" f 644 ") + state.count(" f 640 ") == 23
    assert state.count("/usr/sbin/nologin") == 5


@pytest.mark.timeout(1800)  # images are built for three machines
def test_ours_starts_servers_on_three_machines() -> None:
    command = [sys.executable, str(DEPLOY.with_name("fleet.py")), "--quick", "--ours", "--users", "4", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1780, check=False)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["failed"] == {"hubfleet": 0}
    assert [one["people"] for one in data["rounds"]] == [1, 4]
    assert {"Making the service", "Waiting for the server"} <= data["parts"].keys()
