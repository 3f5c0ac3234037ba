"""A hub grows from one machine to three and shrinks again, and people keep their files wherever their servers are.

One hub for all, and the tests build on each other.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fleet_there import Fleet, started
from harness import Kernel, Person, expect_failure
from machines import Lab, Machine
from stock import stocked

import command
import needs
from hubfleet.config.fleet import REGISTRY_PORT
from waiting import soon

pytestmark = needs.machines()

WORKERS = ("worker1", "worker2")
AGAIN_S = 60.0
"""In this time somebody has another server, after a machine is gone."""


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
    place.trusted(monkeypatch)
    return place


@pytest.fixture(scope="module")
def people() -> dict[str, Person]:
    """Those who are there already, by what they are called here."""
    return {}


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
    page = people["ada"].session.get(f"{fleet.url}/hub/home").text
    assert f"an administrator has stopped it to take its machine, {there}, out of use" in page
    for person in newcomers:
        person.stop()
    fleet.run("machine", "drain", other)
    told = expect_failure(people["ada"])
    assert "no machine takes new servers now: worker1 and worker2 are drained" in told
    for name in WORKERS:
        fleet.run("machine", "add", name)
    started(people["ada"])
    assert "an administrator has stopped it" not in people["ada"].session.get(f"{fleet.url}/hub/home").text


def test_a_machine_with_servers_is_not_taken_out(fleet: Fleet, people: dict[str, Person]) -> None:
    there = fleet.where(people["ada"])
    code, said = fleet.fails("machine", "remove", there, "--yes")
    assert code == 2
    assert people["ada"].name in said
    assert "drain" in said
    assert there in (fleet.folder / "hubfleet.yaml").read_text()
    assert "nothing to change" in fleet.plan(), "it takes servers as before"


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


def test_a_class_of_sixty_comes_in_at_once(fleet: Fleet, people: dict[str, Person]) -> None:
    """From where commands are typed: the hub's name leads nowhere here, and nobody has signed its certificate."""
    ada = people["ada"]
    kernel = ada.kernel()
    kernel.run("kept = 6")
    before = sorted(path.name for path in fleet.homes.iterdir())
    written = fleet.folder / "class"
    options = ["--people", "60", "--idle", "0s", "--disturb-people", "--output", str(written)]
    said = fleet.run("loadtest", *options).stdout
    data = json.loads(written.with_suffix(".json").read_text())
    assert (data["failed"], data["broken_off"], data["cleanup"]) == (0, None, []), said
    assert data["verdict"]["sentence"] in said
    watched = data["machine"]
    assert (watched["machines"], watched["hub_here"], watched["client_here"]) == (2, False, False)
    assert len(watched["people"]) == 60
    assert all(one["pss"] > 20e6 and one["processes"] >= 2 for one in watched["people"].values())
    assert watched["samples"]
    assert {"hub", "proxy", "launcher"} <= set(watched["parts_pss"])
    assert watched["parts_pss"]["hub"][1] > 50e6, "the hub itself, and not what starts it"
    assert watched["hub_loop_cpu_s"] > 60 * 0.005
    assert watched["not_measured"] == []
    # Who answers no sign of life for a minute is taken to be gone, and this program has only waited meanwhile.
    assert Kernel(ada, kernel.id).run("print(kept * 7)").strip() == "42"
    assert sorted(path.name for path in fleet.homes.iterdir()) == before
    assert not [one["user"] for one in fleet.status()["servers"] if one["user"].startswith("loadtest-")]


def test_there_are_addresses_for_more_servers_than_a_usual_network_has(fleet: Fleet, people: dict[str, Person]) -> None:
    """All that servers get lie beyond the first 254."""
    name = f"hubfleet-{fleet.name}-fleet"
    pool = json.loads(fleet.machine.docker("network", "inspect", name))[0]["IPAM"]["Config"][0]
    subnet = ipaddress.ip_network(pool["Subnet"])
    assert subnet.num_addresses >= 2 * 300
    (server,) = [one for one in fleet.status()["servers"] if one["user"] == people["ada"].name]
    address = ipaddress.ip_address(urlsplit(server["url"]).hostname or "")
    assert int(address) - int(subnet.network_address) > 254


WATCHED = """
import time
from pathlib import Path
count = 0
while not Path("enough").exists():
    count += 1
    Path("{name}").write_text(str(count))
    time.sleep(0.2)
print("finished")
"""
"""A cell that runs until it is told to end, and writes down that it does."""


# -- machines that do not hear of each other ---------------------------------------------------------------------------


def cut_off(machine: Machine, other: Machine) -> None:
    """Nothing passes between the two any more; both go on, and others reach them."""
    rules = "".join(
        f"add chain inet cut {hook} {{ type filter hook {hook} priority -300; }}\n"
        f"add rule inet cut {hook} ip {way} {other.address} drop\n"
        for hook, way in (("prerouting", "saddr"), ("postrouting", "daddr"))
    )
    machine.run("nft -f -", text=f"add table inet cut\n{rules}")


def healed(machine: Machine) -> None:
    machine.run("nft delete table inet cut")


def test_who_is_cut_off_for_seconds_notices_nothing(fleet: Fleet, people: dict[str, Person]) -> None:
    ada = people["ada"]
    kernel = ada.kernel()
    kernel.run("kept = 6")
    there = fleet.workers[fleet.where(ada)]
    cut_off(there, fleet.machine)
    time.sleep(5)  # that is how long it lasts
    healed(there)
    soon(lambda: ada.jupyter("GET", f"/api/kernels/{kernel.id}").status_code == 200, 60)
    assert Kernel(ada, kernel.id).run("print(kept * 7)").strip() == "42"


def test_who_is_cut_off_for_long_goes_on_elsewhere_and_has_one_server(fleet: Fleet, people: dict[str, Person]) -> None:
    ada = people["ada"]
    ada.kernel().run("open('cut.txt', 'w').write('kept')")
    lost = fleet.where(ada)
    there = fleet.workers[lost]
    (before,) = there.docker(
        "ps", "--quiet", "--filter", f"label=hubfleet.hub={fleet.name}", "--filter", "label=hubfleet.server"
    ).split()
    cut_off(there, fleet.machine)
    try:
        soon(lambda: ada.servers() == {}, AGAIN_S)
        assert there.docker("ps", "--quiet", "--filter", f"id={before}") != "", "there it runs, and nobody reaches it"
        started(ada)
        assert fleet.where(ada) != lost
        kernel = ada.kernel()
        assert kernel.run("print(open('cut.txt').read())").strip() == "kept"
        kernel.run("kept = 6")
    finally:
        healed(there)
    soon(lambda: fleet.listed()[lost]["state"] == "ready", 90)
    soon(lambda: there.docker("ps", "--quiet", "--filter", f"id={before}") == "", 60)
    assert kernel.run("print(kept * 7)").strip() == "42"
    assert [one["user"] for one in fleet.status()["servers"]] == [ada.name]


def test_the_manager_is_restarted_and_servers_go_on(fleet: Fleet, people: dict[str, Person]) -> None:
    ada = people["ada"]
    kernel = ada.kernel()
    kernel.run("kept = 6")
    fleet.machine.run("systemctl restart docker")
    fleet.await_answer(120)
    soon(lambda: ada.jupyter("GET", f"/api/kernels/{kernel.id}").status_code == 200, 90)
    assert Kernel(ada, kernel.id).run("print(kept * 7)").strip() == "42"
    soon(lambda: fleet.status()["state"] == "running", 90)


# -- a machine dies, and one goes ------------------------------------------------------------------------------------


def test_a_worker_dies_and_its_people_go_on_elsewhere(fleet: Fleet, people: dict[str, Person]) -> None:
    """They are told why. Who is on another machine notices nothing, in the middle of a cell."""
    ada, eve = people["ada"], fleet.person("eve")
    mark = secrets.token_hex(8)
    lost = fleet.where(ada)
    fleet.run("machine", "drain", lost)
    started(eve)
    fleet.run("machine", "add", lost)
    assert fleet.where(eve) != lost
    hers, others = ada.kernel(), eve.kernel()
    hers.run(f"open('before.txt', 'w').write('{mark}')")
    hers.send(WATCHED.format(name="hers.txt"))
    theirs = others.send(WATCHED.format(name="others.txt"))
    mine, kept = fleet.homes / ada.name / "hers.txt", fleet.homes / eve.name / "others.txt"
    soon(lambda: mine.exists() and kept.exists(), 30)
    fleet.workers[lost].cut_power()
    begun = time.monotonic()
    last = mine.read_text()
    soon(lambda: ada.servers() == {}, AGAIN_S)
    assert f"{lost} is lost" in ada.session.get(f"{fleet.url}/hub/home").text
    assert mine.read_text() == last, "her cell has ended with its machine"
    started(ada)
    took = time.monotonic() - begun
    assert took < AGAIN_S, took
    assert fleet.where(ada) != lost
    assert ada.kernel().run("print(open('before.txt').read())").strip() == mark
    assert f"{lost} is lost" not in ada.session.get(f"{fleet.url}/hub/home").text
    assert lost in fleet.run("logs", ada.name).stdout
    (kept.parent / "enough").touch()
    assert others.finish(theirs) == "finished\n"
    eve.stop()
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
    # Until all have reported to the manager again, a plan says that they are waited for.
    soon(lambda: {entry["state"] for entry in fleet.listed().values()} == {"ready"}, 90)
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


@pytest.fixture(scope="module")
def left(place: Fleet) -> str:
    """The name of the machine that has been taken out."""
    (name,) = set(WORKERS) - set(place.listed())
    return name


def running(ada: Person) -> tuple[Kernel, str]:
    """A cell that goes on until `ended`."""
    kernel = ada.kernel()
    kernel.run("import os; os.path.exists('enough') and os.remove('enough')")
    return kernel, kernel.send(WATCHED.format(name="busy.txt"))


def ended(fleet: Fleet, ada: Person, cell: tuple[Kernel, str]) -> None:
    """It has gone on all the time."""
    (fleet.homes / ada.name / "enough").touch()
    assert cell[0].finish(cell[1]) == "finished\n"


def test_a_machine_comes_while_a_cell_runs_on_another(fleet: Fleet, people: dict[str, Person], left: str) -> None:
    """It was paused when it left, and takes servers when it comes again; it is reached as the hub's machine is."""
    cell = running(people["ada"])
    said = fleet.run("machine", "add", left, "--ssh", f"root@{fleet.workers[left].address}").stdout
    assert f"{left} is in hubfleet.yaml" in said
    fleet.run("check")
    fleet.run("up", "--yes")
    assert "nothing to change" in fleet.plan()
    assert fleet.listed()[left]["state"] == "ready"
    fay = people["fay"] = fleet.person("fay")
    started(fay)
    assert fleet.where(fay) == left
    ended(fleet, people["ada"], cell)


def test_drain_waits_until_the_last_one_has_gone(fleet: Fleet, people: dict[str, Person], left: str) -> None:
    words = fleet.command("machine", "drain", left, "--wait")
    with subprocess.Popen(words, cwd=fleet.folder, env=fleet.environment, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        told = iter(waiting.stdout.readline, "")
        assert any(f"1 server on {left} yet" in line for line in told)
        assert waiting.poll() is None
        people["fay"].stop()
        assert any(f"No server runs on {left} any more" in line for line in told)
    assert waiting.returncode == 0


def begun(fleet: Fleet, name: str, *options: str) -> tuple[subprocess.Popen[str], Iterator[str]]:
    """A drain that waits for somebody, and what it says from then on."""
    words = fleet.command("machine", "drain", name, *options, "--yes")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    waiting = subprocess.Popen(words, cwd=fleet.folder, env=fleet.environment, preexec_fn=command.hear_ctrl_c, **pipes)
    assert waiting.stdout is not None
    told = iter(waiting.stdout.readline, "")
    assert any(f"1 server on {name} yet" in line for line in told)
    return waiting, told


def test_drain_stops_after_a_time_who_is_still_there(fleet: Fleet, people: dict[str, Person], left: str) -> None:
    fay = people["fay"]
    fleet.run("machine", "add", left)
    started(fay)
    assert fleet.where(fay) == left
    said = fleet.run("machine", "drain", left, "--stop-after", "2h", "--dry-run").stdout
    assert f"1 server on {left}: {fay.name}\nWho is still there at " in said
    assert "(in 2h) is stopped then" in said
    assert fleet.listed()[left]["state"] == "ready"
    code, said = fleet.fails("machine", "drain", left, "--stop-after", "2h")
    assert (code, "there is nobody to ask" in said, fleet.listed()[left]["state"]) == (7, True, "ready"), said

    waiting, told = begun(fleet, left, "--stop-after", "2h")
    waiting.send_signal(signal.SIGINT)
    rest = "".join(told)
    assert waiting.wait(30) == 130
    assert f"{left} stays drained: nobody new comes there, and who is there goes on, and is not stopped" in rest
    assert fleet.listed()[left] | {"state": "drained", "servers": [fay.name]} == fleet.listed()[left]

    waiting, told = begun(fleet, left, "--stop-after", "2h")
    fleet.run("machine", "add", left)
    rest = "".join(told)
    assert (waiting.wait(30), "Nobody was stopped" in rest) == (0, True), rest
    assert "" not in fay.servers() or fay.servers()[""]["ready"]

    before = time.monotonic()
    said = fleet.run("machine", "drain", left, "--stop-after", "15s", "--yes").stdout
    assert time.monotonic() - before > 15
    assert f"Stopping {fay.name} ..." in said
    assert f"No server runs on {left} any more" in said
    assert fay.servers() == {}
    for page in ("/hub/home", f"/user/{fay.name}/lab"):
        told_there = fay.session.get(f"{fleet.url}{page}").text
        assert f"an administrator has stopped it to take its machine, {left}, out of use" in told_there, page


def of(fleet: Fleet, name: str) -> tuple[str, str]:
    """What has `docker node ls` tell of this machine only."""
    return "--filter", f"node.label=hubfleet.{fleet.name}.machine={name}"


def test_down_with_a_machine_away_takes_the_rest(fleet: Fleet, people: dict[str, Person], left: str) -> None:
    (other,) = set(WORKERS) - {left}
    guard = ("ps", "--all", "--quiet", "--filter", f"name=hubfleet-{fleet.name}-guard")
    assert fleet.workers[other].docker(*guard) != ""
    fleet.workers[left].cut_power()
    code, said = fleet.fails("down", "--yes")
    assert (code, left in said, "hubfleet down, once it is back" in said) == (8, True, True), said
    assert fleet.workers[other].docker(*guard) == ""
    fleet.workers[left].start()
    fleet.up()  # which waits until the swarm has it again
    assert "nothing to change" in fleet.plan()
    started(people["ada"])


def test_a_dead_machine_is_taken_out(fleet: Fleet, people: dict[str, Person], left: str) -> None:
    """Its being drained is forgotten with it: one that comes in its place is another one."""
    assert fleet.listed()[left]["state"] == "drained"
    cell = running(people["ada"])
    fleet.workers[left].cut_power()
    code, said = fleet.fails("up", "--yes")
    assert (code, "hubfleet machine remove" in said) == (8, True), said
    fleet.run("machine", "remove", left, "--yes")
    assert json.loads(fleet.machine.run(f"cat {fleet.state}/drained.json")) == []
    said = fleet.run("up", "--yes").stdout
    assert f"{left} cannot be reached" in said
    assert f"docker rm --force hubfleet-{fleet.name}-guard" in said
    assert "edge" not in said
    plan = fleet.plan()
    assert "nothing to change" in plan
    assert left not in plan
    assert len(fleet.machine.docker("node", "ls", "--quiet").split()) == 2
    ended(fleet, people["ada"], cell)


def test_the_swarm_uses_the_private_address(fleet: Fleet, left: str) -> None:
    """Of a machine that comes back from the dead, after what `up` said to type there."""
    worker = fleet.workers[left]
    worker.start()
    worker.run(f"docker rm --force hubfleet-{fleet.name}-guard && docker swarm leave --force")
    usual = ipaddress.ip_interface(worker.run("ip -o -4 address show dev eth0").split()[3])
    private = str(usual.network[-3])
    fleet.run("machine", "add", left, "--ssh", f"root@{worker.address}", "--private-ip", private)
    code, said = fleet.fails("up", "--yes")
    assert (code, "Nothing was changed" in said) == (3, True), said
    assert f"{left} has no IPv4 address {private} of its own" in said
    assert worker.address in said.partition(f"machines.{left}.private_ip: one of")[2].partition("\n")[0]
    worker.run(f"ip address add {private}/{usual.network.prefixlen} dev eth0")
    worker.run(f"ip route replace {usual.network} dev eth0 src {private}")  # what it sends comes from there, too
    fleet.run("up", "--yes")
    assert worker.docker("info", "--format", "{{.Swarm.NodeAddr}}") == private
    node = fleet.machine.docker("node", "ls", "--quiet", *of(fleet, left))
    known = fleet.machine.docker("node", "inspect", "--format", "{{.Status.Addr}}", node)
    assert known == private
    assert fleet.listed()[left]["state"] == "ready"


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
