"""An upgrade taken back while a kernel runs, and a hub deleted with all it has, on a server of its own.

One machine for all, and the tests build on each other: images take minutes to make.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dockerd
import pytest
from harness import Kernel, Person
from machines import Lab, Machine
from stock import stocked

import needs
from hubfleet.config.secrets import Secrets
from waiting import soon

pytestmark = needs.machines()

STATE = "/var/lib/hubfleet/lab"
DATABASE = f"{STATE}/hub/jupyterhub.sqlite"
HOMES = "/srv/homes"
FIRST, SECOND = "{memory: {limit: 1G}}", "{memory: {limit: 2G}, packages: [cowsay]}"
SETTINGS = """\
hub: lab
engine: docker
machines: {{hub1: {{ssh: root@{address}, ssh_config: {ssh}}}}}
base_image: {base}
https: off
listen: {{address: 0.0.0.0, port: 8000}}
login: {{password: file}}
storage: {{homes: {{path: {homes}}}}}
servers: {servers}
"""


class Operator:
    """Somebody with a configuration file. ``url`` is where their hub is."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder = machine, folder
        self.url = f"http://{machine.address}:8000"
        lines = [word for word in machine.options() if "=" in word]
        key = machine.options()[machine.options().index("-i") + 1]
        text = "".join(f"{line.replace('=', ' ', 1)}\n" for line in [*lines, f"IdentityFile={key}"])
        (folder / "ssh_config").write_text(text)

    def wants(self, servers: str) -> None:
        text = SETTINGS.format(
            address=self.machine.address,
            ssh=self.folder / "ssh_config",
            base=dockerd.BASE,
            homes=HOMES,
            servers=servers,
        )
        (self.folder / "hubfleet.yaml").write_text(text)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "hubfleet", *words]

    def types(self, *words: str, code: int = 0) -> str:
        """What a command says; it has to end with this code."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1500,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.types("status", "--json")))

    def person(self, name: str) -> Person:
        """Signs up, and logs in."""
        given = Secrets.beside(self.folder / "hubfleet.yaml").get("class_password")
        assert given is not None
        person = Person(self, name, "correct-horse-battery")  # type: ignore[arg-type]
        person.sign_up(given.reveal())
        return person

    def changes(self) -> str:
        return self.types("plan")


def launcher(machine: Machine) -> dict[str, Any]:
    """What the launcher was told."""
    return dict(json.loads(machine.run("cat", f"{STATE}/launcher/launcher.json")))


def parts(machine: Machine) -> dict[str, str]:
    """The hub's containers, by name: their fingerprint."""
    form = '{{.Names}} {{.Label "hubfleet.fingerprint"}}'
    lines = machine.docker("ps", "--format", form, "--filter", "name=hubfleet-lab-").splitlines()
    found = dict(line.partition(" ")[::2] for line in lines)
    return {name: mark for name, mark in found.items() if "-user-" not in name}


def people(machine: Machine) -> set[str]:
    code = f"import sqlite3; print(*[r[0] for r in sqlite3.connect({DATABASE!r}).execute('select name from users')])"
    return set(machine.run("python3", "-c", code).split())


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Machine:
    made = stocked(lab)
    made.run(f"mkdir -p {HOMES}/guest /var/lib/hubfleet/other/homes/ada /srv/precious")
    made.run(f"echo kept | tee {HOMES}/guest/a /var/lib/hubfleet/other/homes/ada/a /srv/precious/a")
    return made


@pytest.fixture(scope="module")
def operator(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Their hub has had two generations, and people since the first."""
    made = Operator(machine, tmp_path_factory.mktemp("operator"))
    made.wants(FIRST)
    made.types("up", "--yes")
    return made


@pytest.fixture(scope="module")
def ada(operator: Operator) -> Person:
    """Has a server since before the second generation."""
    person = operator.person("ada")
    assert person.log_in().status_code == 302
    assert person.start()[-1].get("ready")
    return person


@pytest.fixture(scope="module")
def kernel(ada: Person) -> Iterator[Kernel]:
    with_state = ada.kernel()
    with_state.run("kept = 42")
    yield with_state
    with_state.close()


@pytest.fixture(scope="module")
def two(operator: Operator, kernel: Kernel, machine: Machine) -> tuple[dict[str, str], dict[str, str]]:
    """Makes the second generation; the fingerprints of the parts in the first, and in the second."""
    first = parts(machine)
    operator.wants(SECOND)
    operator.types("up", "--yes")
    return first, parts(machine)


def alive(kernel: Kernel) -> bool:
    kernel.connect()
    return kernel.run("print(kept)").strip() == "42"


Two = tuple[dict[str, str], dict[str, str]]


def test_an_upgrade_is_taken_back_and_the_kernel_runs_on(
    operator: Operator, machine: Machine, kernel: Kernel, two: Two
) -> None:
    second = launcher(machine)
    said = operator.types("rollback", "--yes")
    assert "servers.memory.limit: 2G -> 1G" in said
    assert "database is kept" in said
    now = launcher(machine)
    assert now["config"]["servers"]["memory"]["limit"] != second["config"]["servers"]["memory"]["limit"]
    assert now["engine"]["image"] != second["engine"]["image"]
    assert machine.docker("images", "--quiet", now["engine"]["image"])
    assert parts(machine) == two[0] != two[1]
    assert alive(kernel)
    status = operator.status()
    assert (status["state"], status["generation"], status["rolled_back_to"]) == ("running", 3, 1)
    assert "servers.memory.limit: 1G -> 2G" in operator.changes()
    assert "rolled back to generation 1" in operator.changes()
    listed = operator.types("rollback", "--list").splitlines()
    assert [line.split()[0] for line in listed[1:4]] == ["1", "2", "3"]
    assert "current, back to 1" in listed[3]


def test_taking_back_is_taken_back(operator: Operator, machine: Machine, kernel: Kernel, two: Two) -> None:
    operator.types("rollback", "--yes")
    assert parts(machine) == two[1]
    assert operator.status()["rolled_back_to"] == 2
    assert alive(kernel)
    assert "nothing to change" in operator.changes()


def killed(operator: Operator, machine: Machine, *words: str) -> None:
    """Kill a command when it has begun to replace the hub's parts."""
    command, pipe = operator.command(*words), subprocess.PIPE
    with subprocess.Popen(command, cwd=operator.folder, stdin=subprocess.DEVNULL, stdout=pipe, text=True) as doing:
        assert doing.stdout is not None
        for line in doing.stdout:
            if "restart container" in line:
                doing.kill()
        doing.wait()
    assert doing.returncode == -signal.SIGKILL
    # The step that was begun is brought to its end there, and then the lock is free.
    soon(lambda: machine.run(f"flock --nonblock {STATE}/lock true || echo taken") == "", 120)


def test_killed_in_the_middle_it_is_brought_to_its_end(
    operator: Operator, machine: Machine, kernel: Kernel, two: Two
) -> None:
    before = operator.status()["generation"]
    killed(operator, machine, "rollback", "1", "--yes")
    assert operator.status()["generation"] == before
    operator.types("rollback", "--yes")
    assert parts(machine) == two[0]
    assert operator.status()["generation"] == before + 1
    assert alive(kernel)


def test_killed_in_the_middle_up_goes_where_the_configuration_says(
    operator: Operator, machine: Machine, kernel: Kernel, two: Two
) -> None:
    killed(operator, machine, "rollback", "2", "--yes")
    operator.types("up", "--yes")
    assert parts(machine) == two[1]
    assert operator.status()["rolled_back_to"] is None
    assert alive(kernel)


def test_a_database_that_the_hub_could_not_read_is_put_back(
    operator: Operator, machine: Machine, kernel: Kernel, two: Two
) -> None:
    bob = operator.person("bob")
    assert bob.log_in().status_code == 302
    assert bob.start()[-1].get("ready")
    assert {"ada", "bob"} <= people(machine)
    # as a later JupyterHub would have left it
    code = f"import sqlite3; sqlite3.connect({DATABASE!r}, timeout=30).execute('create table later (x)')"
    machine.run("python3", "-c", code)
    said = operator.types("rollback", "1", "--keep-database", "--yes", code=3)
    assert "cannot read the database as it is now" in said
    assert parts(machine) == two[1]
    said = operator.types("rollback", "1", "--yes")
    assert "1 server started after that will be stopped: bob" in said
    assert parts(machine) == two[0]
    assert operator.status()["state"] == "running"
    assert "ada" in people(machine)
    assert "bob" not in people(machine)
    assert [entry["user"] for entry in operator.status()["servers"]] == ["ada"]
    assert alive(kernel)
    operator.types("rollback", "--yes")
    assert {"ada", "bob"} <= people(machine)
    assert bob.log_in().status_code == 302
    assert parts(machine) == two[1]
    assert alive(kernel)


def test_a_database_that_the_hub_could_read_is_put_back_for_who_asks(
    operator: Operator, machine: Machine, kernel: Kernel, two: Two
) -> None:
    dan = operator.person("dan")
    assert dan.log_in().status_code == 302
    said = operator.types("rollback", "1", "--database", "--yes")
    assert "the hub's database becomes that of" in said
    assert parts(machine) == two[0]
    assert "ada" in people(machine)
    assert "dan" not in people(machine)
    assert dan.log_in().status_code != 302
    assert alive(kernel)
    operator.types("rollback", "--database", "--yes")
    assert {"ada", "dan"} <= people(machine)
    assert dan.log_in().status_code == 302
    assert parts(machine) == two[1]
    assert alive(kernel)


def test_a_generation_whose_image_is_gone_is_refused_before_anything_changes(
    operator: Operator, machine: Machine, ada: Person, two: Two
) -> None:
    ada.stop()
    other = json.loads(machine.run("cat", f"{STATE}/generations/0001/manifest.json"))["machines"]["hub1"]
    tag = next(item["tag"] for item in other if item["kind"] == "image" and item["label"] == "users")
    machine.docker("rmi", tag)
    before = operator.status()["generation"]
    said = operator.types("rollback", "1", "--yes", code=3)
    assert f"{tag} is gone" in said
    assert "Nothing was changed" in said
    assert parts(machine) == two[1]
    assert operator.status()["generation"] == before
    assert "images gone" in operator.types("rollback", "--list").splitlines()[1]


def test_down_leaves_all_that_people_have(operator: Operator, machine: Machine, ada: Person) -> None:
    if not ada.servers():
        ada.start()
    assert "Files stay" in operator.types("down", "--yes")
    assert machine.docker("ps", "--all", "--quiet") == ""
    assert "ada" in people(machine)
    assert {"ada", "guest"} <= set(machine.run("ls", HOMES).split())
    operator.types("up", "--yes")
    assert operator.status()["state"] == "running"


def test_a_hub_is_deleted_with_all_it_has_and_nothing_else(operator: Operator, machine: Machine, ada: Person) -> None:
    assert ada.log_in().status_code == 302
    assert ada.start()[-1].get("ready")
    machine.run(f"ln -s /srv/precious {HOMES}/ada/link; ln -s /srv/precious {STATE}/link")
    homes = len(machine.run("ls", HOMES).split()) - 1
    said = operator.types("down", "--delete-data", "--yes", code=7)
    assert f"{homes} home{'s' if homes > 1 else ''} elsewhere" in said
    assert "1 running server will be stopped: ada" in said
    assert f"{HOMES}: guest, not this hub's" in said
    assert "Nothing was deleted" in said
    operator.types("down", "--delete-data", "--yes-delete", "other", code=2)
    assert operator.status()["state"] == "running"

    operator.types("down", "--delete-data", "--yes-delete", "lab")
    assert machine.docker("ps", "--all", "--quiet") == ""
    assert machine.docker("images", "--quiet", "hubfleet/*") == ""
    assert "hubfleet" not in machine.docker("network", "ls")
    assert "hubfleet" not in machine.run("nft", "list", "tables")
    assert machine.run("getent passwd; getent group").count("-lab") == 0
    assert machine.run("ls", "/var/lib/hubfleet").split() == ["other", "uids.json", "uids.lock"]
    assert machine.run("ls", "-A", HOMES).split() == ["guest"]
    assert (
        machine.run("find /etc -name '*hubfleet*lab*'; find /etc/hubfleet -type f; ip -o link | grep hf- || true") == ""
    )
    for kept in (f"{HOMES}/guest/a", "/var/lib/hubfleet/other/homes/ada/a", "/srv/precious/a"):
        assert machine.run("cat", kept) == "kept"
    assert "Server:" in machine.docker("version")
    assert "There is nothing of hub lab" in operator.types("down", "--delete-data", "--yes-delete", "lab")
