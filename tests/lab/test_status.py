"""What `hubfleet status` and `hubfleet logs` tell of a hub on another machine."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hubs_there import ask_hub, write_files
from machines import Lab, Machine
from stock import stocked

import command
import needs
from pairs import NAME, make_pair
from waiting import soon

pytestmark = needs.machines(1500)


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Machine:
    return stocked(lab)


@pytest.fixture(scope="module")
def folder(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are typed; the hub runs."""
    made = tmp_path_factory.mktemp("site")
    write_files(made, machine)
    up(made)
    return made


def up(folder: Path) -> None:
    done = command.run(folder, "up", "--yes")
    assert done.code == 0, done.out + done.err


def status(folder: Path) -> dict[str, Any]:
    done = command.run(folder, "status", "--json")
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def test_it_names_the_machine_and_the_certificate(folder: Path, machine: Machine) -> None:
    found = status(folder)
    assert (found["state"], found["problems"], found["warnings"]) == ("running", [], [])
    assert found["machine"] == {"name": "hub1", "address": machine.address}
    assert found["certificate"]["names"] == [machine.address]
    assert 360 < found["certificate"]["days_left"] < 366
    shown = command.run(folder, "status").out
    assert f"on hub1 ({machine.address}), certificate until {found['certificate']['expires'][:10]}" in shown


@pytest.mark.parametrize(("part", "end"), [("edge", "stop"), ("hub", "pause"), ("launcher", "stop")])
def test_a_part_that_is_down_or_silent_is_named(folder: Path, machine: Machine, part: str, end: str) -> None:
    container = f"hubfleet-lab-{part}"
    machine.docker(end, container)
    try:
        found = status(folder)
        assert found["state"] == "degraded"
        assert len(found["problems"]) == 1, found["problems"]
        assert part in found["problems"][0]
        assert "It said last: " in found["problems"][0]
    finally:
        machine.docker("unpause" if end == "pause" else "start", container)
    soon(lambda: status(folder)["state"] == "running", 60)


def test_a_certificate_that_ends_soon_is_warned_of(folder: Path, machine: Machine) -> None:
    certificate, key = make_pair(NAME, starts=-80, ends=10).write(folder)
    write_files(folder, machine, domain=NAME, https={"certificate": certificate.name, "key": key.name})
    up(folder)
    found = status(folder)
    assert found["warnings"] == ["the certificate expires in 9 days; put a new one into its place, then: hubfleet up"]
    assert (found["state"], found["certificate"]["names"]) == ("running", [NAME])
    assert found["warnings"][0].partition(";")[0] in command.run(folder, "status").out
    write_files(folder, machine)
    up(folder)
    assert status(folder)["warnings"] == []


# -- logs --------------------------------------------------------------------------------------------------------------


@contextmanager
def following(folder: Path, *arguments: str) -> Iterator[Path]:
    """The file with what a command says while the body runs; Ctrl-C ends it without a fault."""
    said = folder / f"{arguments[0]}.txt"
    with said.open("w") as out:
        process = subprocess.Popen(
            [*command.COMMAND, "logs", *arguments],
            cwd=folder,
            env=command.environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=command.hear_ctrl_c,
        )
        try:
            yield said
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0, said.read_text()


def test_the_log_of_a_part_is_followed_over_its_restart(folder: Path, machine: Machine) -> None:
    with following(folder, "edge", "-f", "-n", "1") as said:
        soon(said.read_text)
        before = said.read_text().count("serving initial configuration")
        machine.docker("restart", "hubfleet-lab-edge")
        soon(lambda: said.read_text().count("serving initial configuration") == before + 1, 60)
    soon(lambda: status(folder)["state"] == "running", 60)


def test_the_log_of_a_server_is_there_during_and_after(folder: Path, machine: Machine) -> None:
    assert command.run(folder, "logs", "ada").code == 2, "there is no such log yet"

    def start() -> None:
        ask_hub(folder, "POST", "/users/admin/server")
        soon(
            lambda: [one["ready"] for one in ask_hub(folder, "GET", "/users/admin")["servers"].values()] == [True], 180
        )

    def stop() -> None:
        ask_hub(folder, "DELETE", "/users/admin/server")
        soon(lambda: ask_hub(folder, "GET", "/users/admin")["servers"] == {}, 60)

    start()
    during = command.run(folder, "logs", "admin").out
    assert "Jupyter Server" in during
    assert "admin: started" in during
    with following(folder, "admin", "-f") as said:
        soon(lambda: "Jupyter Server" in said.read_text(), 60)
        stop()
        after = command.run(folder, "logs", "admin").out
        assert "Jupyter Server" in after
        assert "[I" in after
        starts = said.read_text().count("is running at:")
        start()
        soon(lambda: said.read_text().count("is running at:") == starts + 1, 180)
    stop()
