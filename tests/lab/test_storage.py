"""Homes on a machine of their own: made there, seen by the servers, kept from users' programs, and lost and found.

One hub for all, and the tests build on each other.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fleet_there import Fleet, started
from harness import Person, expect_failure
from machines import Lab, Machine
from stock import stocked

import needs
from hubfleet.config.fleet import Fleet as Network
from hubfleet.config.fleet import addresses
from hubfleet.homes import ARCHIVED, PORT
from waiting import soon

pytestmark = needs.machines()

WORKER = "worker1"
STATE = "/var/lib/hubfleet/lab"


@pytest.fixture(scope="module")
def place(lab: Lab, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """The hub on one machine, servers on another, homes on a third. The hub's machine does not see them."""
    hub = stocked(lab, "hub1")
    worker, files = (lab.start(name, docker_installed=True, shared=shared) for name in (WORKER, "files1"))
    made = Fleet(hub, [worker], shared, tmp_path_factory.mktemp("storage"), storage=files)
    made.grow(WORKER)
    return made


@pytest.fixture
def fleet(place: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """The hub, and this process trusts its edge's authority."""
    place.trusted(monkeypatch)
    return place


@pytest.fixture(scope="module")
def people() -> dict[str, Person]:
    """Those who are there already, by what they are called here."""
    return {}


def files_of(fleet: Fleet) -> Machine:
    assert fleet.storage is not None
    return fleet.storage


def containers(machine: Machine) -> set[str]:
    names = machine.docker("ps", "--format", "{{.Names}}").split()
    return {name.removeprefix("hubfleet-lab-") for name in names if "." not in name}


def test_it_comes_with_the_first_up(fleet: Fleet) -> None:
    said = fleet.run("check").stdout
    assert "PROBLEM" not in said
    assert "files1: Docker is" in said
    plan = fleet.plan()
    assert "\nfiles1:\n" in plan
    assert "start container hubfleet-lab-homes" in plan.partition("\nfiles1:\n")[2]
    fleet.up()
    assert "nothing to change" in fleet.plan()
    listed = fleet.listed()
    assert {name: one["state"] for name, one in listed.items()} == dict.fromkeys(("hub1", WORKER, "files1"), "ready")
    assert containers(files_of(fleet)) == {"homes"}
    assert "homes" not in containers(fleet.machine) | containers(fleet.workers[WORKER])
    assert not Path(fleet.machine.run(f"ls -d {fleet.homes} 2>/dev/null || true") or "/nowhere").exists()
    assert fleet.status()["processes"]["homes"]["machine"] == "files1"


def test_homes_are_made_there_and_seen_by_servers(fleet: Fleet, people: dict[str, Person]) -> None:
    ada = people["ada"] = fleet.person("ada")
    started(ada)
    assert fleet.where(ada) == WORKER, "no server comes to the machine with the homes"
    kernel = ada.kernel()
    kernel.run("open('note.txt', 'w').write('kept')")
    uid = kernel.run("import os; print(os.getuid())").strip()
    assert files_of(fleet).run(f"stat -c '%u:%g %a' {fleet.homes}/{ada.name}") == f"{uid}:{uid} 700"
    assert files_of(fleet).run("cat", f"{fleet.homes}/{ada.name}/note.txt") == "kept"
    (home,) = json.loads(fleet.run("homes", "--json").stdout)["homes"]
    assert (home["person"], home["directory"], str(home["uid"])) == (ada.name, f"{fleet.homes}/{ada.name}", uid)


def test_the_keys_of_the_line_are_with_its_ends_only(fleet: Fleet) -> None:
    link = json.loads(fleet.machine.run("cat", f"{STATE}/secrets/homes.json"))
    for key, machine in ((link["gate_key"], files_of(fleet)), (link["edge_key"], fleet.machine)):
        marked = key.splitlines()[1]
        for one in (fleet.machine, files_of(fleet), *fleet.workers.values()):
            there = one.run(f"grep -rlF '{marked}' /var/lib/hubfleet /etc /root 2>/dev/null || true").split()
            kept = [path for path in there if path != f"{STATE}/secrets/homes.json"]
            assert len(kept) == (one is machine), (one.name, there)
            assert all(one.run("stat", "-c", "%a %u", path) == "600 0" for path in there)
        assert marked not in fleet.run("plan", "--full").stdout


_KNOCK = """
import socket
def knock(address, port):
    try:
        with socket.create_connection((address, port), 4):
            return "OPEN"
    except OSError as error:
        return f"blocked: {type(error).__name__}"
print(knock("ADDRESS", PORT))
"""


def test_users_programs_do_not_reach_it(fleet: Fleet, people: dict[str, Person]) -> None:
    storage = addresses("lab", Network(servers=300)).storage
    knock = _KNOCK.replace("ADDRESS", storage).replace("PORT", str(PORT))
    kernel, worker = people["ada"].kernel(), fleet.workers[WORKER]
    assert kernel.run(knock).startswith("blocked: ")
    # Without the guard there is a way, on which nobody gets a word in without the launcher's certificate.
    network = worker.docker("network", "inspect", "--format", "{{.Id}}", "hubfleet-lab-fleet")[:10]
    inside = f"nsenter --net=$(ls -d /run/docker/netns/*-{network}) nft"
    worker.docker("stop", "hubfleet-lab-guard")
    worker.run(f"{inside} flush ruleset")
    try:
        assert kernel.run(knock).strip() == "OPEN"
        said = kernel.run(
            "import ssl\ncontext = ssl._create_unverified_context()\n"
            f"line = context.wrap_socket(socket.create_connection(('{storage}', {PORT}), 4))\n"
            "line.sendall(b'GET /homes HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\nprint(line.recv(100))"
        )
        assert "Error" in said or said == "b''\n", "the line is closed without a word"
    finally:
        worker.docker("start", "hubfleet-lab-guard")
    soon(lambda: kernel.run(knock).startswith("blocked: "), 60)


def test_a_rollback_finds_the_line_as_it_was(fleet: Fleet, people: dict[str, Person]) -> None:
    fleet.more = {"servers": {"memory": {"limit": "700M"}}}
    fleet.write("")
    fleet.run("up", "--yes")
    fleet.run("rollback", "--yes")
    people["ada"].stop()
    started(people["ada"])
    assert people["ada"].kernel().run("print(open('note.txt').read())").strip() == "kept"
    fleet.more = {}
    fleet.write("")
    fleet.run("up", "--yes")  # which has nothing to do but to try out what a rollback was in a hurry for
    assert "nothing to change" in fleet.plan()


def test_a_home_is_put_away_there(fleet: Fleet) -> None:
    ben = fleet.person("ben")
    started(ben)
    ben.kernel().run("open('last.txt', 'w').write('words')")
    ben.stop()
    said = " ".join(fleet.run("homes", "archive", ben.name, "--yes").stdout.split())
    (tar,) = [word for word in said.split() if word.endswith(".tar.gz")]
    assert tar.startswith(f"{fleet.homes}/{ARCHIVED}/")
    assert "last.txt" in files_of(fleet).run("tar", "-tzf", tar)
    started(ben)
    assert "FileNotFoundError" in ben.kernel().run("open('last.txt')")
    ben.stop()


def test_while_its_machine_is_away_nobody_starts_and_it_is_said(fleet: Fleet, people: dict[str, Person]) -> None:
    eve = fleet.person("eve")
    files_of(fleet).cut_power()
    assert "the storage of homes" in expect_failure(eve)
    found = fleet.status()
    assert found["state"] == "degraded"
    assert "files1 cannot be reached" in " ".join(found["problems"])
    assert people["ada"].kernel().run("print(6 * 7)").strip() == "42"
    files_of(fleet).start()
    soon(lambda: "homes" in containers(files_of(fleet)), 90)
    soon(lambda: fleet.status()["state"] == "running", 90)
    assert "nothing to change" in fleet.plan()


def test_after_a_power_cut_of_all_the_hubs_machine_may_come_back_last(fleet: Fleet) -> None:
    eve, files = fleet.person("eve"), files_of(fleet)
    files.cut_power()
    fleet.machine.cut_power()
    files.start()
    last = files.docker("inspect", "--format", "{{.State.Error}}", "hubfleet-lab-homes")
    assert last, "its engine could not start it without the swarm's manager"
    assert "homes" not in containers(files)
    fleet.machine.start()
    soon(lambda: "homes" in containers(files), 90)
    soon(lambda: fleet.status()["state"] == "running", 120)
    started(eve)
    eve.stop()
    assert "nothing to change" in fleet.plan()


def test_all_of_it_goes_with_the_hubs_data(fleet: Fleet) -> None:
    other = fleet.homes / "somebody-else"
    other.mkdir()
    worker = fleet.workers[WORKER]
    assert worker.docker("volume", "ls", "--quiet", "--filter", "label=hubfleet.hub=lab") != ""
    said = fleet.run("down", "--delete-data", "--yes-delete", "lab").stdout
    assert "And from files1:" in said
    assert "1 set of volumes: lab" in said
    assert f"{fleet.homes}/somebody-else" not in said
    assert "somebody-else, not this hub's" in " ".join(said.split())
    assert [path.name for path in fleet.homes.iterdir()] == [other.name]
    for machine in (fleet.machine, files_of(fleet), *fleet.workers.values()):
        assert machine.run(f"ls -d {STATE} 2>/dev/null || true") == ""
        for words in (
            ("ps", "--all", "--quiet", "--filter", "name=hubfleet-lab"),
            ("volume", "ls", "--quiet", "--filter", "label=hubfleet.hub=lab"),
            ("image", "ls", "--quiet", "--filter", "reference=*/hubfleet/*"),
            ("network", "ls", "--quiet", "--filter", "name=hubfleet-lab"),
        ):
            assert machine.docker(*words) == "", (machine.name, words)
        assert machine.docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"
        left = machine.run("find /etc/hubfleet /etc/docker/certs.d -mindepth 1 2>/dev/null || true")
        assert left == "", machine.name
    said = fleet.run("down", "--delete-data", "--yes-delete", "lab").stdout
    assert "There is nothing of hub lab" in said
