"""What containers take of a machine, as its agent measures it."""

from __future__ import annotations

import os

import dockerd
import pytest
from converging import own

import needs
from hubfleet.agent.load import footprints, load
from waiting import soon

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.usefixtures("reach"),
]

MB = 1024**2
BUSY = """
import subprocess, sys, time
held = b"x" * (60 << 20)
child = subprocess.Popen([sys.executable, "-c", "input()"])
begin = time.process_time()
while time.process_time() < begin + 1:
    pass
print("up", flush=True)
input()
"""


def test_the_processes_of_each_server_are_added_up_and_no_others(engine: dockerd.Dockerd) -> None:
    ours, theirs = own("ours"), own("theirs")
    try:
        for name, hub in ((ours, "measured"), (theirs, "another")):
            labels = ["--label", f"hubfleet.hub={hub}", "--label", f"hubfleet.server={hub}-1"]
            options = ["--detach", "--interactive", "--init", "--network", "none", "--name", name]
            engine.docker("run", *options, *labels, dockerd.BASE, "python3", "-c", BUSY)
        soon(lambda: "up" in engine.docker("logs", ours), 60)
        parts = {"hub": os.getpid(), "gone": 2**22 + 1}
        found = footprints(parts, {"hubfleet.hub": "measured"}, "hubfleet.server")
        assert set(found["servers"]) == {"measured-1"}
        server = found["servers"]["measured-1"]
        assert 60 * MB < server["pss"] < 150 * MB
        assert 1.0 <= server["cpu_s"] < 20
        assert server["processes"] == 3, "what reaps orphans, the program, and its child"
        first = {"hub": engine.inspect(ours)["State"]["Pid"]}
        part = footprints(first, {"hubfleet.hub": "measured"}, "hubfleet.server")["parts"]["hub"]
        assert part["pss"] > 60 * MB
        assert part["first_thread_s"] >= 1.0
        assert load(first)["cpu_s"]["hub"] >= 1.0
        assert set(found["parts"]) == {"hub"}
        assert found["parts"]["hub"]["pss"] > 10 * MB
        assert found["parts"]["hub"]["first_thread_s"] > 0
    finally:
        engine.docker("rm", "--force", ours, theirs)


def test_a_machine_tells_what_it_has_and_what_was_used() -> None:
    first = load({"hub": os.getpid(), "gone": 2**22 + 1})
    assert first["cores"] == os.cpu_count()
    assert 0 < first["available"] < first["memory"]
    assert first["cpu_s"]["hub"] > 0
    assert first["cpu_s"]["gone"] == 0.0
    soon(lambda: load({})["busy_s"] > first["busy_s"])
