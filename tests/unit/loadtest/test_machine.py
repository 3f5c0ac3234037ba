"""What is measured of processes that run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from hubfleet.loadtest.machine import PROC, Machine, main_thread, own_cpu_seconds
from waiting import soon

BESIDE = """
import hashlib, threading
def hashing():
    while True:
        hashlib.scrypt(b"x", salt=b"y", n=2**14, r=8, p=1)
threading.Thread(target=hashing, daemon=True).start()
print("up", flush=True)
input()
"""


@pytest.fixture
def hashing() -> Iterator[int]:
    """A process whose main thread waits while another works."""
    with subprocess.Popen(
        [sys.executable, "-c", BESIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


async def test_the_hubs_loop_is_told_from_its_other_threads(hashing: int) -> None:
    machine = Machine({"hub": hashing}, time.monotonic)
    begin = own_cpu_seconds(PROC / str(hashing) / "stat")
    soon(lambda: own_cpu_seconds(PROC / str(hashing) / "stat") > begin + 0.5, 60)
    await machine.look_at_people(set(), {})
    assert machine.watched.parts_cpu_s["hub"] >= 0.5
    assert machine.watched.hub_loop_cpu_s is not None
    assert machine.watched.hub_loop_cpu_s < 0.1
    assert main_thread(hashing).is_file()


async def test_without_a_hub_there_is_no_loop() -> None:
    machine = Machine({}, time.monotonic)
    await machine.look_at_people(set(), {})
    assert machine.watched.hub_loop_cpu_s is None
