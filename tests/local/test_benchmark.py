"""The benchmark, on real hubs of its own: that it works, and leaves nothing. What it measures is not judged here."""

from __future__ import annotations

import glob
import json
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

START = Path(__file__).parents[2] / "benchmarks" / "start.py"
RATIOS = ("wall", "memory", "memory_opened", "memory_whole", "single", "hub_cpu", "cpu")


def seen(process: psutil.Process) -> str:
    """What tells where a process belongs: its arguments and its directory."""
    try:
        return f"{process.cmdline()} {process.cwd()}/"
    except psutil.Error:
        return ""


@pytest.mark.timeout(420)
def test_it_plays_classes_of_ours_alone() -> None:
    command = [sys.executable, str(START.with_name("many.py")), "--users", "3", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["failed"] == 0
    assert data["ratio_more"] > 0
    assert [(one["hub"], one["people"]) for one in data["rounds"]] == [("hubfleet", 3)] * 2


@pytest.mark.timeout(420)
def test_it_compares_us_with_stock_jupyterhub_and_leaves_nothing() -> None:
    process = subprocess.Popen(
        [sys.executable, str(START), "--users", "2", "--quick", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=400)
    finally:
        process.terminate()  # it then cleans up, if it has not ended
        process.wait(60)
    assert process.returncode == 0, err
    data = json.loads(out)
    assert data["failed"] == 0
    assert {name for name in RATIOS if not data[f"ratio_{name}"] > 0} == set()
    assert {one["hub"] for one in data["rounds"]} == {"hubfleet", "stock, tuned"}
    assert [one["people"] for one in data["rounds"]] == [1, 1, 2, 2, 2, 2]
    for one in data["rounds"]:
        assert one["failed"] == 0, one["failures"]
        assert one["not_measured"] == []
        assert one["memory"] > 5e6
        assert one["cpu_s_per_start"]["servers"] > 0
        parts = {"hub", "proxy"} | (
            {"launcher", "fork server", "parent of kernels"} if one["hub"] == "hubfleet" else set()
        )
        assert set(one["memory_of_parts"]) == parts
    assert data["machine"]["cores"] == psutil.cpu_count()
    place = f"{'/var/lib' if os.geteuid() == 0 else tempfile.gettempdir()}/hubfleet-bench-{process.pid}-"
    assert [entry.pw_name for entry in pwd.getpwall() if entry.pw_name.endswith(f"-bench-{process.pid}")] == []
    assert glob.glob(f"{place}*") == []
    assert [one.pid for one in psutil.process_iter() if place in seen(one)] == []
