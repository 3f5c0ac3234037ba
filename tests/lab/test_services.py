"""A stack of four services on a machine: deployed, used, changed, taken back, stopped and deleted.

The tests build on each other, for one machine has it all.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import dockerd
import pytest
from hubs_there import write_ssh_config
from machines import Lab, Machine
from ruamel.yaml import YAML
from stack import HEALTHY, write_settings, write_stack

import command
import needs
from waiting import soon

pytestmark = needs.machines()

STATE = "/var/lib/hubfleet/shop"
NAMES = ("api", "db", "queue", "worker")


class Operator:
    """Somebody with a configuration file."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder = machine, folder
        self.machines: dict[str, Any] = {machine.name: write_ssh_config(folder, machine)}
        self.services = write_stack(folder)
        self.said = ""

    def write(self, name: str = "shop") -> None:
        write_settings(self.folder, self.machines, self.services, name)

    def types(self, *words: str, code: int = 0) -> str:
        done = command.run(self.folder, *words)
        assert done.code == code, f"{words}: {done.code}\n{done.out}{done.err}"
        self.said += done.out + done.err
        return done.out + done.err

    def ask(self, path: str = "/", data: Any = None, machine: Machine | None = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        address = f"http://{(machine or self.machine).address}:8080{path}"
        with urllib.request.urlopen(address, body, timeout=10) as answer:
            return json.load(answer)

    def has(self, *words: str) -> bool:
        """Whether the worker has brought these to the database."""
        return set(words) <= set(self.ask())

    def password(self) -> str:
        return str(YAML().load(self.folder / "hubfleet.secrets.yaml")["db_password"])


def running(machine: Machine) -> dict[str, str]:
    """Ids of the stack's containers that run, by service."""
    lines = machine.docker("ps", "--no-trunc", "--format", "{{.Names}} {{.ID}}").splitlines()
    found = dict(line.split() for line in lines)
    return {
        name.removeprefix("hubfleet-shop_"): key for name, key in found.items() if name.startswith("hubfleet-shop_")
    }


def started(lab: Lab, name: str) -> Machine:
    """A machine whose engine has what images are built on."""
    made = lab.start(name, docker_installed=True)
    made.start_docker()
    made.load(dockerd.BASE)
    return made


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Machine:
    return started(lab, "hub1")


@pytest.fixture(scope="module")
def operator(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    made = Operator(machine, tmp_path_factory.mktemp("operator"))
    made.write()
    return made


def test_one_command_and_the_stack_works(operator: Operator, machine: Machine) -> None:
    assert "start container hubfleet-shop_db" in operator.types("plan")
    assert "PROBLEM" not in operator.types("check")
    assert running(machine) == {}
    said = operator.types("up", "--yes")
    assert "shop is up" in said
    begun = [name for name in said.split() if name.startswith("hubfleet-shop_")]
    assert begun.index("hubfleet-shop_db") < begun.index("hubfleet-shop_worker"), "it waits for what it needs"
    assert begun.index("hubfleet-shop_queue") < begun.index("hubfleet-shop_api")
    assert set(running(machine)) == set(NAMES)
    operator.ask("/", "ada")
    soon(lambda: operator.has("ADA"), 30)
    assert "nothing to change" in operator.types("plan")
    found = json.loads(operator.types("status", "--json"))
    assert (found["state"], found["project"], set(found["parts"])) == ("running", "services", set(NAMES))
    assert "serving" in operator.types("logs", "api")


def test_services_have_no_rights_and_secrets_are_in_files_only(operator: Operator, machine: Machine) -> None:
    _, uid, capabilities = operator.ask("/version")
    assert uid != 0
    assert int(capabilities, 16) == 0
    password = operator.password()
    assert len(password) > 20
    for name in NAMES:
        assert password not in machine.docker("inspect", f"hubfleet-shop_{name}")
    assert password not in machine.run(f"cat {STATE}/generations/*/* {STATE}/project.json; ps axeww")
    assert password not in operator.said
    assert machine.run(f"su nobody -s /bin/sh -c 'cat {STATE}/secrets/db/db_password' || echo refused") == "refused"


def test_one_that_changes_is_replaced_alone_and_taken_back(operator: Operator, machine: Machine) -> None:
    before = running(machine)
    operator.services["api"]["environment"] = {"VERSION": "2"}
    operator.write()
    said = operator.types("plan")
    assert "services.api.environment.VERSION: 1 -> 2" in said
    assert "1 to restart" in said
    operator.types("up", "--yes")
    now = running(machine)
    assert [name for name in NAMES if now[name] != before[name]] == ["api"]
    assert operator.ask("/version")[0] == "2"
    assert operator.has("ADA")

    said = operator.types("rollback", "--yes")
    assert "as in generation 1 again" in said
    assert operator.ask("/version")[0] == "1"
    assert {name: key for name, key in running(machine).items() if name != "api"} == {
        name: key for name, key in before.items() if name != "api"
    }
    assert operator.has("ADA")
    assert "rolled back to generation 1" in operator.types("status")
    assert "1 -> 2" in operator.types("plan")


def test_one_that_does_not_answer_leaves_the_one_before(operator: Operator, machine: Machine) -> None:
    file = operator.folder / "api" / "app.py"
    good = file.read_text()
    file.write_text("raise SystemExit('broken on purpose')\n")
    said = operator.types("up", "--yes", code=4)
    assert "broken on purpose" in said
    assert "The earlier one serves again" in said
    assert operator.ask("/version")[0] == "1"
    file.write_text(good)
    operator.types("up", "--yes")
    assert operator.ask("/version")[0] == "2"
    assert "nothing to change" in operator.types("plan")


def test_one_that_is_taken_out_goes_and_the_others_stay(operator: Operator, machine: Machine) -> None:
    before = running(machine)
    worker = operator.services.pop("worker")
    operator.write()
    said = operator.types("plan")
    assert "remove container hubfleet-shop_worker" in said
    assert f"remove file {STATE}/secrets/worker/db_password" in said
    operator.types("up", "--yes")
    assert running(machine) == {name: key for name, key in before.items() if name != "worker"}
    operator.services["worker"] = {**worker, "tmpfs": ["/run/more"]}
    operator.write()
    operator.types("up", "--yes")
    assert set(running(machine)) == set(NAMES)
    assert "/run/more" in machine.docker("exec", "hubfleet-shop_worker", "cat", "/proc/mounts")


def test_an_action_of_the_project(operator: Operator, machine: Machine) -> None:
    def begun() -> str:
        return machine.docker("inspect", "--format", "{{.State.StartedAt}}", "hubfleet-shop_queue")

    before = begun()
    assert "restart SERVICE" in operator.types("do")
    assert "queue was restarted" in operator.types("do", "restart", "queue")
    assert begun() != before
    health = machine.docker("inspect", "--format", "{{.State.Health.Status}}", "hubfleet-shop_queue")
    assert health == "healthy", "it is told when it is done"
    assert "not a service" in operator.types("do", "restart", "../hub", code=2)
    assert "hubs" in operator.types("users", code=2)


def test_stopped_it_keeps_its_data_and_deleted_it_leaves_nothing(operator: Operator, machine: Machine) -> None:
    operator.types("down", "--yes")
    assert running(machine) == {}
    assert json.loads(operator.types("status", "--json"))["state"] == "stopped"
    assert "store.sqlite" in machine.run(f"ls {STATE}/volumes/db-data")
    operator.types("up", "--yes")
    assert operator.has("ADA")

    assert "is called shop" in operator.types("down", "--delete-data", "--yes-delete", "other", code=2)
    assert operator.has("ADA")
    operator.types("down", "--delete-data", "--yes-delete", "shop")
    assert machine.run(f"ls -d {STATE} 2>/dev/null || echo gone") == "gone"
    assert running(machine) == {}
    assert machine.docker("images", "--quiet", "hubfleet/*") == ""
    assert "shop" not in machine.docker("network", "ls")
    assert machine.run("getent passwd hubservice-shop || echo none") == "none"
    assert dockerd.BASE in machine.docker("images", "--format", "{{.Repository}}:{{.Tag}}"), "which was not its own"


def test_services_are_on_the_machines_of_their_roles(machine: Machine, lab: Lab, tmp_path: Path) -> None:
    """One of them as the container's root, which has the rights to its own files and no others."""
    other = started(lab, "hub2")
    operator = Operator(machine, tmp_path)
    operator.machines[other.name] = write_ssh_config(tmp_path, other)
    operator.machines["hub1"]["roles"], operator.machines["hub2"]["roles"] = ["here"], ["there"]
    queue = {"build": "queue", "health": HEALTHY, "ports": ["8080:8000"], "volumes": {"data": "/data"}}
    operator.services = {"near": {**queue, "role": "here"}, "far": {**queue, "role": "there", "user": "root"}}
    operator.write("pair")
    operator.types("up", "--yes")
    assert machine.docker("ps", "--format", "{{.Names}}") == "hubfleet-pair_near"
    assert other.docker("ps", "--format", "{{.Names}}") == "hubfleet-pair_far"
    for one in (machine, other):
        operator.ask("/put", "ada", one)
    found = json.loads(operator.types("status", "--json"))["parts"]
    assert {name: part["machine"] for name, part in found.items()} == {"near": "hub1", "far": "hub2"}
    assert "serving" in operator.types("logs", "far")
    assert "far was restarted" in operator.types("do", "restart", "far")
    taken = [soon(lambda one=one: operator.ask("/take", machine=one), 30) for one in (machine, other)]  # type: ignore[misc]
    assert taken == [["ada"], ["ada"]]
    operator.types("down", "--yes")
    assert machine.docker("ps", "--quiet") == other.docker("ps", "--quiet") == ""
    operator.types("down", "--delete-data", "--yes-delete", "pair")
    for one in (machine, other):
        assert one.docker("ps", "--all", "--quiet") == ""
        assert one.run("ls -d /var/lib/hubfleet/pair 2>/dev/null || echo gone") == "gone"
