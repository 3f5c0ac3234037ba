"""A hub grows from one machine to three and shrinks again, and people keep their files wherever their servers are.

One hub for all, and the tests build on each other.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dockerd
import pytest
from deployed import Server
from harness import Kernel, Person
from machines import Lab, Machine
from stock import stocked

import needs
from hubfleet.config.fleet import REGISTRY_PORT
from waiting import soon

pytestmark = needs.machines()

WORKERS = ("worker1", "worker2")
AGAIN_S = 60.0
"""In this time somebody has another server, after a machine is gone."""


class Fleet(Server):
    """A hub on ``machine``, alone or with workers. Homes are a directory that all of them have."""

    def __init__(self, machine: Machine, workers: list[Machine], shared: Path, folder: Path) -> None:
        self.workers = {worker.name: worker for worker in workers}
        self.wanted: tuple[str, ...] = ()
        super().__init__(machine, folder, "lab")
        self.homes = shared
        text = (folder / "ssh_config").read_text()
        (folder / "ssh_config").write_text(
            text + "".join(text.replace(machine.address, one.address) for one in workers)
        )
        self.write("")

    def write(self, settings: str) -> None:
        def reached(machine: Machine, *roles: str) -> dict[str, Any]:
            return {"ssh": f"root@{machine.address}", "ssh_config": "ssh_config", "roles": list(roles)}

        hub1 = reached(self.machine, "hub")
        told: dict[str, Any] = {"hub": self.name, "base_image": dockerd.BASE, "https": "self-signed"}
        homes = {"path": str(self.homes)}
        if self.wanted:
            machines = {"hub1": hub1, **{name: reached(self.workers[name], "worker") for name in self.wanted}}
            told |= {"engine": "swarm", "machines": machines, "storage": {"homes": {**homes, "share": "mounted"}}}
            told["network"] = {"fleet": {"encrypted": False, "servers": 300}}  # this kernel cannot encrypt
        else:
            told |= {"engine": "docker", "machines": {"hub1": hub1}, "storage": {"homes": homes}}
        (self.folder / "hubfleet.yaml").write_text(json.dumps(told))

    def grow(self, *workers: str) -> None:
        """Write which workers there should be; none: engine docker. Nothing is changed yet."""
        self.wanted = workers
        self.write("")

    def listed(self) -> dict[str, dict[str, Any]]:
        """What `hubfleet machine` knows of each."""
        found = json.loads(self.run("machine", "--json").stdout)["machines"]
        return {entry["name"]: entry for entry in found}

    def where(self, person: Person) -> str:
        """The machine that somebody's server is on."""
        (found,) = [name for name, entry in self.listed().items() if person.name in entry["servers"]]
        return found

    def fails(self, *words: str) -> tuple[int, str]:
        done = self.run(*words, check=False)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """A directory of all machines; what is in it belongs to many."""
    place = Path(tempfile.mkdtemp(prefix="hubfleet-homes-", dir="/srv"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def place(lab: Lab, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """The hub on one machine, with engine docker; the others have nothing yet."""
    hub = stocked(lab, "hub1", shared=shared)
    workers = [lab.start(name, docker_installed=True, shared=shared) for name in WORKERS]
    made = Fleet(hub, workers, shared, tmp_path_factory.mktemp("fleet"))
    made.up()
    return made


@pytest.fixture
def fleet(place: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """The hub, and this process trusts its edge's authority."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "WEBSOCKET_CLIENT_CA_BUNDLE"):
        monkeypatch.setenv(name, str(place.root))
    return place


@pytest.fixture(scope="module")
def people() -> dict[str, Person]:
    """Those who are there already, by what they are called here."""
    return {}


def started(person: Person) -> str:
    """Start a server; the last that was said of it."""
    last = person.start()[-1]
    assert last.get("ready"), last
    return str(last["message"])


# -- from one machine to three ---------------------------------------------------------------------------------------


def test_it_grows_by_editing_the_file(fleet: Fleet, people: dict[str, Person]) -> None:
    ada = people["ada"] = fleet.person("ada")
    started(ada)
    ada.kernel().run("print('made on one machine', file=open('note.txt', 'w'), flush=True)")
    owner = (fleet.homes / ada.name).stat().st_uid
    fleet.grow(*WORKERS)

    code, said = fleet.fails("up", "--yes")
    assert code == 3
    assert "hub lab still runs with engine docker, with 1 running server" in said
    fleet.run("down", "--yes")
    said = fleet.run("check").stdout
    assert "worker2: Docker is" in said
    plan = fleet.plan()
    assert "joins the swarm of hub1" in plan
    fleet.up()
    assert "nothing to change" in fleet.plan()
    assert {name: entry["state"] for name, entry in fleet.listed().items()} == dict.fromkeys(
        ("hub1", *WORKERS), "ready"
    )

    started(ada)  # with the password and the token of before
    assert fleet.where(ada) in WORKERS
    assert ada.kernel().run("print(open('note.txt').read())").strip() == "made on one machine"
    assert ada.kernel().run("import os; print(os.getuid())").strip() == str(owner)


def test_servers_are_spread_and_files_are_the_same_everywhere(fleet: Fleet, people: dict[str, Person]) -> None:
    ada, ben = people["ada"], fleet.person("ben")
    people["ben"] = ben
    started(ben)
    assert {fleet.where(ada), fleet.where(ben)} == set(WORKERS)
    first = fleet.where(ben)
    ben.kernel().run("open('here.txt', 'w').write('x' * 1000)")
    ben.stop()
    fleet.run("machine", "drain", first)
    started(ben)
    assert fleet.where(ben) != first
    assert ben.kernel().run(
        "import os; s = os.stat('here.txt'); print(s.st_size, s.st_uid == os.getuid())"
    ).split() == [
        "1000",
        "True",
    ]
    fleet.run("machine", "add", first)


def test_a_drained_machine_gets_nobody_and_an_up_leaves_it_so(fleet: Fleet, people: dict[str, Person]) -> None:
    there = fleet.where(people["ada"])
    (other,) = set(WORKERS) - {there}
    said = fleet.run("machine", "drain", there).stdout
    assert people["ada"].name in said
    assert fleet.listed()[there]["state"] == "drained"
    assert "nothing to change" in fleet.plan()
    newcomers = [fleet.person(f"new{number}") for number in range(3)]
    for person in newcomers:
        started(person)
    assert {fleet.where(person) for person in newcomers} == {other}
    assert people["ada"].kernel().run("print(6 * 7)").strip() == "42", "who is there goes on"
    said = fleet.run("machine", "drain", there, "--stop", "--yes").stdout
    assert f"No server runs on {there} any more" in said
    assert people["ada"].servers() == {}
    fleet.run("machine", "add", there)
    for person in newcomers:
        person.stop()
    started(people["ada"])


def test_a_machine_with_servers_is_not_taken_out(fleet: Fleet, people: dict[str, Person]) -> None:
    there = fleet.where(people["ada"])
    code, said = fleet.fails("machine", "remove", there, "--yes")
    assert code == 2
    assert people["ada"].name in said
    assert "drain" in said
    assert there in (fleet.folder / "hubfleet.yaml").read_text()


def test_images_are_for_the_fleet_only(fleet: Fleet) -> None:
    """Whoever has no certificate of it is not answered."""
    address = f"https://{fleet.machine.address}:{REGISTRY_PORT}/v2/"
    asked = ["curl", "--silent", "--show-error", "--insecure", address]
    stranger = subprocess.run(asked, capture_output=True, text=True)
    assert (stranger.returncode != 0, stranger.stdout) == (True, "")
    folder = f"/etc/docker/certs.d/{fleet.machine.address}:{REGISTRY_PORT}"
    words = f"cd {folder} && curl --silent --cert client.cert --key client.key --cacert ca.crt {address}"
    assert fleet.workers["worker1"].run(words) == "{}"


def test_the_word_that_lets_a_machine_join_is_nowhere(fleet: Fleet) -> None:
    token = fleet.machine.docker("swarm", "join-token", "--quiet", "worker")
    for machine in (fleet.machine, *fleet.workers.values()):
        said = machine.run(f"grep -rlF {token} /var/lib/hubfleet /var/log 2>/dev/null || true")
        assert said == "", f"{machine.name}: {said}"
    assert token not in fleet.run("plan", "--full").stdout


# -- a machine dies, and one goes ------------------------------------------------------------------------------------


def test_a_worker_dies_and_its_people_go_on_elsewhere(fleet: Fleet, people: dict[str, Person]) -> None:
    ada = people["ada"]
    mark = secrets.token_hex(8)
    ada.kernel().run(f"open('before.txt', 'w').write('{mark}')")
    lost = fleet.where(ada)
    fleet.workers[lost].cut_power()
    begun = time.monotonic()
    soon(lambda: ada.servers() == {}, AGAIN_S)
    started(ada)
    took = time.monotonic() - begun
    assert took < AGAIN_S, took
    assert fleet.where(ada) != lost
    assert ada.kernel().run("print(open('before.txt').read())").strip() == mark
    assert lost in fleet.run("logs", ada.name).stdout
    fleet.workers[lost].start()
    soon(lambda: fleet.listed()[lost]["state"] == "ready", 60)


def test_the_hubs_machine_reboots_and_everything_returns(fleet: Fleet, people: dict[str, Person]) -> None:
    ada = people["ada"]
    kernel = ada.kernel()
    kernel.run("kept = 7")
    fleet.machine.reboot()
    fleet.await_answer(120)
    soon(lambda: ada.jupyter("GET", "/api/kernels").status_code == 200, 90)
    assert Kernel(ada, kernel.id).run("print(kept * 6)").strip() == "42", "it is on another machine and noticed nothing"
    soon(lambda: fleet.status()["state"] == "running", 90)
    assert "nothing to change" in fleet.plan()


def test_a_machine_leaves(fleet: Fleet, people: dict[str, Person]) -> None:
    (idle,) = set(WORKERS) - {fleet.where(people["ada"])}
    fleet.run("machine", "remove", idle, "--yes")
    assert idle not in (fleet.folder / "hubfleet.yaml").read_text()
    plan = fleet.plan()
    assert f"\n{idle}:\n" in plan
    assert "leaves the swarm" in plan
    fleet.run("up", "--yes")
    assert "nothing to change" in fleet.plan()
    assert fleet.workers[idle].docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"
    assert fleet.machine.docker("node", "ls", "--format", "{{.Hostname}}").split() != []
    assert idle not in fleet.machine.docker("node", "ls", "--format", "{{.Hostname}}").split()


# -- and back ----------------------------------------------------------------------------------------------------------


def test_back_to_one_machine_by_editing_the_file(fleet: Fleet, people: dict[str, Person]) -> None:
    ada = people["ada"]
    fleet.run("down", "--yes")
    fleet.grow()
    fleet.up()
    assert "nothing to change" in fleet.plan()
    started(ada)
    assert ada.kernel().run("print(open('note.txt').read())").strip() == "made on one machine"
    assert (
        fleet.machine.docker("info", "--format", "{{.Swarm.LocalNodeState}} {{.LiveRestoreEnabled}}") == "inactive true"
    )
