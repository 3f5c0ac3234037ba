"""The benchmark of containers, on a hub of its own: that it works, and leaves nothing. Times are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dockerd
import pytest

import needs

pytestmark = [needs.root(), needs.command("dockerd", package="docker.io"), needs.command("mmdebstrap")]
CONTAINER = Path(__file__).parents[2] / "benchmarks" / "container.py"


@pytest.mark.timeout(900)  # the first one makes the image
def test_it_starts_containers_by_way_of_our_hub(engine: dockerd.Dockerd) -> None:
    command = [sys.executable, str(CONTAINER), "--quick", "--ours", "--users", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["failed"] == 0
    assert [one["people"] for one in data["rounds"]] == [1, 2]
    assert data["parts"].keys() == {"prepare", "create", "engine's start", "program until ready"}
    assert min(data["parts"].values()) > 0
    left = engine.docker("ps", "--all", "--format", "{{.Names}}").split()
    assert [name for name in left if name.startswith(f"hubfleet-bench-{data['pid']}")] == []
