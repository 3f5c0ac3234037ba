"""A whole class presses Start at once: nobody is turned away, whoever else is slow or dies meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest
from harness import RunningHub, await_that

import needs
from hubfleet.loadtest.hubapi import HubAPI, StepFailed
from hubfleet.openfiles import ENOUGH
from hubfleet.units import Secret

pytestmark = [needs.root(), pytest.mark.timeout(600)]

FEW = 256  # open files: fewer than the class has people and connections
CLASS = 160  # more than the 128 connections that usually may wait at a socket


@pytest.fixture(scope="module")
def narrow(new_hub: Callable[[str], RunningHub]) -> RunningHub:
    """A hub started where a process is given few open files."""
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, kept[1]))
    try:
        hub = new_hub("")
        hub.up()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, kept)
    return hub


@pytest.fixture
def hub(narrow: RunningHub, hub_logs: list[Path]) -> RunningHub:
    hub_logs.append(narrow.logs)
    narrow.await_answer()
    return narrow


@contextlib.contextmanager
def silent(pid: int) -> Iterator[None]:
    """The process does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("part", ["hub", "launcher"])
def test_a_class_may_wait_at_the_door(hub: RunningHub, part: str) -> None:
    allowed = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with silent(hub.pid(part)), contextlib.ExitStack() as knocking:
        for _ in range(min(400, allowed)):
            one = knocking.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            one.connect(str(hub.state / "run" / part / f"{part}.sock"))  # raises BlockingIOError where nobody may wait


def open_files(pid: int) -> tuple[int, int]:
    """As /proc tells: to ask the kernel about another account's process takes a right that containers' root lacks."""
    line = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "open files" in line)
    return int(line.split()[3]), int(line.split()[4])


def test_services_may_open_many_files_and_users_as_many_as_usual(hub: RunningHub) -> None:
    for part in ("hub", "launcher"):
        wanted, most = open_files(hub.pid(part))
        assert wanted == min(most, ENOUGH) > FEW, part
    ada = hub.person("ada")
    assert ada.start()[-1]["ready"]
    record = json.loads((hub.state / "launcher" / "servers" / "ada.json").read_text())
    wanted, most = open_files(record["handle"]["pid"])
    assert wanted == min(4096, most), "Jupyter Server itself asks for so many, where it has fewer"
    kernel = ada.kernel()
    shell = "import subprocess; print(subprocess.getoutput('ulimit -Sn; ulimit -Hn').split())"
    assert kernel.run(shell) == f"{[str(wanted), str(most)]}\n"
    kernel.close()
    ada.stop()


def test_a_class_that_starts_at_the_same_moment_is_up_without_an_error(hub: RunningHub) -> None:
    token = Secret(hub.operator_token())

    async def play() -> list[str]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            operator = HubAPI(session, hub.url, token)
            made = await operator.ask("POST", "/hubfleet/loadtest", {"people": CLASS, "seconds": 900})

            async def start(person: dict[str, str]) -> str:
                own = HubAPI(session, hub.url, Secret(person["token"]))
                try:
                    await own.start(person["name"], {}, 300)
                except StepFailed as failure:
                    return str(failure)
                return ""

            return [reason for reason in await asyncio.gather(*map(start, made["people"])) if reason]

    try:
        assert asyncio.run(play()) == []
        assert len(hub.status()["servers"]) == CLASS
    finally:
        hub.run("loadtest", "--clean-up")
    assert hub.status()["servers"] == []
    # What one person's start leaves unsaved while it waits, the end of another's request would take back.
    log = (hub.logs / "hub.log").read_text()
    assert "Rolling back" not in log
    # Servers start while the hub still prepares other people's.
    assert log.count("Creating oauth client", log.index("Adding user loadtest-0001 to proxy")) > CLASS / 2


def test_a_class_starts_while_the_launcher_is_replaced(hub: RunningHub) -> None:
    """What it had begun is begun anew by the next one: nobody is told to try again, nobody has two servers."""
    people = [hub.person(f"eve{number}") for number in range(12)]
    records = hub.state / "launcher" / "servers"
    with ThreadPoolExecutor(len(people)) as threads:
        starts = [threads.submit(person.start) for person in people]
        await_that("the first is being started", lambda: list(records.glob("eve*.json")), 60)
        killed = hub.pid("launcher")
        os.kill(killed, signal.SIGKILL)
        ends = [start.result()[-1] for start in starts]
    assert [end for end in ends if not end.get("ready")] == []
    assert hub.pid("launcher") != killed
    assert sorted(entry["user"] for entry in hub.status()["servers"]) == sorted(person.name for person in people)
    log = (hub.logs / "hub.log").read_text()
    assert "has to wait for the launcher" in log, "it was away while it was needed"
    for person in people:
        person.stop()
