"""What is measured of processes that run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from hubfleet.loadtest.machine import Here
from hubfleet.loadtest.watch import Meter, Reading, Size, Watch
from hubfleet.procfiles import PROC, busy_seconds, memory, own_cpu_seconds
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
    async with Watch(Here({"hub": hashing}), time.monotonic) as watch:
        begin = own_cpu_seconds(PROC / str(hashing) / "stat")
        soon(lambda: own_cpu_seconds(PROC / str(hashing) / "stat") > begin + 0.5, 60)
        await watch.look_at_people(set())
    watched = watch.watched
    assert watched.parts_cpu_s["hub"] >= 0.5
    assert watched.hub_loop_cpu_s is not None
    assert watched.hub_loop_cpu_s < 0.1
    assert (watched.machines, watched.hub_here, watched.client_here) == (1, True, True)


async def test_without_a_hub_there_is_no_loop() -> None:
    async with Watch(Here(), time.monotonic) as watch:
        await watch.look_at_people(set())
    assert watch.watched.hub_loop_cpu_s is None


def test_the_machines_own_numbers_are_what_others_read_of_it() -> None:
    total, available = memory()
    assert total == psutil.virtual_memory().total
    assert 0 < available < total
    before = busy_seconds()
    times = psutil.cpu_times()
    others = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
    assert before - 1 <= others <= busy_seconds() + 1


class Lost(Here):
    """A machine that cannot be asked any more after the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def read(self) -> Reading:
        self.asked += 1
        if self.asked > 1:
            raise OSError("worker1: the connection was lost")
        return super().read()


async def test_a_machine_that_is_lost_is_told_once_and_breaks_nothing_off() -> None:
    meter = Lost()
    async with Watch(meter, lambda: 7.0) as watch:
        await asyncio.to_thread(soon, lambda: meter.asked > 3)
        await watch.look_at_people(set())
    assert watch.watched.samples == []
    assert watch.watched.not_measured == [
        "processor and memory after 7 s: worker1: the connection was lost",
        "what people's servers and the hub hold: worker1: the connection was lost",
    ]


class Apart(Here):
    """Two machines with servers; the hub's is another one."""

    def size(self) -> Size:
        return Size(8, 32, 20, machines=2, hub_here=False, client_here=False)


async def test_how_many_machines_there_are_is_kept() -> None:
    meter: Meter = Apart()
    async with Watch(meter, time.monotonic) as watch:
        pass
    watched = watch.watched
    assert (watched.cores, watched.machines, watched.hub_here, watched.client_here) == (8, 2, False, False)
