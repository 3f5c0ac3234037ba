"""The edge moves to a machine of its own, serves there, is lost and comes back, and moves home again.

One hub for all, and the tests build on each other.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dockerd
import pytest
from deployed import Server
from harness import Kernel, Person
from machines import Lab, Machine
from stock import stocked

import needs
from hubfleet.config.machines import LINK_PORT
from hubfleet.link import LIFETIME, NAME, RENEWED, Link, make
from hubfleet.resources.firewall import Firewall
from pairs import make_pair
from waiting import soon

pytestmark = needs.machines()

EDGE = "storage/pki/authorities/local/root.crt"


class Site(Server):
    """A hub on ``machine`` whose edge is there too, or on ``front``."""

    def __init__(self, machine: Machine, front: Machine, folder: Path) -> None:
        self.front, self.apart = front, False
        super().__init__(machine, folder, "lab")
        text = (folder / "ssh_config").read_text()
        more = text.replace(machine.address, front.address)
        (folder / "ssh_config").write_text(text + more)

    @property
    def door(self) -> Machine:
        """Where people come in."""
        return self.front if self.apart else self.machine

    def write(self, settings: str) -> None:
        hub1: dict[str, Any] = {"ssh": f"root@{self.machine.address}", "ssh_config": "ssh_config"}
        front = {**hub1, "ssh": f"root@{self.front.address}", "roles": ["edge"]}
        machines = {"hub1": hub1}
        if self.apart:
            machines = {"hub1": {**hub1, "roles": ["hub"], "private_ip": self.machine.address}, "front": front}
        told = {"hub": self.name, "engine": "docker", "machines": machines, "base_image": dockerd.BASE}
        (self.folder / "hubfleet.yaml").write_text(json.dumps({**told, "https": "self-signed"}))

    def move(self, apart: bool) -> None:
        """Write where the edge is to be; nothing is changed yet."""
        self.apart = apart
        self.write("")
        self.url = f"https://{self.door.address}"

    def trust(self) -> None:
        self.root.write_text(self.door.run("cat", f"{self.state}/edge/{EDGE}") + "\n")

    def up(self) -> str:
        told = self.run("up", "--yes", timeout=1200).stdout
        self.trust()
        return told

    def fails(self, *words: str) -> tuple[int, str]:
        done = self.run(*words, check=False)
        return done.returncode, done.stdout + done.stderr

    def parts(self, machine: Machine) -> set[str]:
        """The hub's own containers there, people's left out."""
        names = machine.docker("ps", "--all", "--format", "{{.Names}}").splitlines()
        return {name.removeprefix("hubfleet-lab-") for name in names if "-user-" not in name}


@pytest.fixture(scope="module")
def place(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The hub on one machine; the other has nothing yet."""
    made = Site(stocked(lab, "hub1"), stocked(lab, "front"), tmp_path_factory.mktemp("site"))
    made.up()
    return made


@pytest.fixture
def site(place: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The hub, and this process trusts its edge's authority."""
    place.trusted(monkeypatch)
    return place


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """Ada and her kernel, once they are there."""
    return {}


def on(site: Site, known: dict[str, Any]) -> Kernel:
    """Ada's kernel, reached by the way that people come in by now."""
    person: Person = known["ada"]
    person.hub = site
    kernel = Kernel(person, known["kernel"])
    assert kernel.run("print(kept)").strip() == "42"
    return kernel


def open_port(machine: Machine, port: int) -> bool:
    try:
        socket.create_connection((machine.address, port), timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def watched(*machines: Machine) -> Iterator[list[bool]]:
    """Whether the hub's login page came from any of these, again and again while the body runs."""
    seen: list[bool] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.2):
            seen.append(any(_login(machine) for machine in machines))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _login(machine: Machine) -> bool:
    argv = ["curl", "--silent", "--insecure", "--max-time", "8", "--output", "/dev/null", "--write-out", "%{http_code}"]
    done = subprocess.run([*argv, f"https://{machine.address}/hub/login"], capture_output=True, text=True)
    return done.stdout == "200"


# -- from one machine to two -------------------------------------------------------------------------------------------


def test_it_moves_while_a_kernel_runs_and_people_come_in(site: Site, known: dict[str, Any]) -> None:
    ada = site.person("ada")
    assert ada.start()[-1]["ready"]
    kernel = ada.kernel()
    kernel.run("kept = 42")
    known.update(ada=ada, kernel=kernel.id)
    assert site.parts(site.front) == set()

    site.move(apart=True)
    said = site.run("check").stdout
    assert f"front reaches hub1 at {site.machine.address}; at TCP port {LINK_PORT} nothing listens yet" in said
    assert "front: port 443 is free" in said
    plan = site.plan()
    assert "\nhub1:\n" in plan
    assert "\nfront:\n" in plan
    assert "BEGIN" not in plan + site.run("plan", "--full").stdout
    with watched(site.machine, site.front) as seen:
        site.up()
    assert seen.count(False) <= 3, "the hub was away while it moved"

    assert site.parts(site.machine) == {"homes", "launcher", "proxy", "hub", "gate"}
    assert site.parts(site.front) == {"edge"}
    assert not open_port(site.machine, 443)
    assert not open_port(site.machine, 80)
    on(site, known).close()
    assert site.changes() == []
    assert "nothing to change" in site.up()
    status = site.status()
    assert (status["state"], status["problems"]) == ("running", [])
    where = {name: part["machine"] for name, part in status["processes"].items()}
    assert where == {
        "homes": "hub1",
        "launcher": "hub1",
        "proxy": "hub1",
        "hub": "hub1",
        "gate": "hub1",
        "edge": "front",
    }
    assert status["certificate"]["names"] == [site.front.address]
    assert "serving initial configuration" in site.run("logs", "edge").stdout
    assert "front: front reaches hub1" not in (checked := site.run("check").stdout)
    assert "PROBLEM" not in checked


def test_the_keys_are_with_their_readers_only(site: Site) -> None:
    link = Link(**json.loads(site.machine.run("cat", f"{site.state}/secrets/link.json")))
    for machine, keys in ((site.machine, [link.gate_key, link.edge_key]), (site.front, [link.edge_key])):
        lines = "\n".join(key.splitlines()[1] for key in keys) + "\n"
        looked = "/var/lib/hubfleet /etc /root /var/lib/docker/containers"
        found = machine.run(f"grep -rlsaF -f - {looked} || test $? -le 2", text=lines).splitlines()
        wanted = {f"{site.state}/secrets/link.json", f"{site.state}/gate/key.pem"}
        assert set(found) == (wanted if machine is site.machine else {f"{site.state}/edge/link/key.pem"})
        for path in found:
            assert machine.run("stat", "--format", "%a", path) == "600"
        names = machine.docker("ps", "--all", "--quiet").split()
        assert not any(line in machine.docker("inspect", *names) for line in lines.split())


def asked(site: Site, folder: Path, certificate: str = "", key: str = "") -> bytes:
    """What the gate answers to somebody, with this certificate if there is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if key:
        pair = folder / "pair.pem"
        pair.write_text(certificate + key)
        context.load_cert_chain(pair)
    try:
        with (
            socket.create_connection((site.machine.address, LINK_PORT), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=NAME) as line,
        ):
            line.sendall(b"GET /hub/login HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
            return line.recv(4096)
    except ssl.SSLError:
        return b""


def test_a_stranger_at_the_gate_gets_nothing(site: Site, tmp_path: Path) -> None:
    other, pair = make(), make_pair("edge.hubfleet.invalid")
    assert asked(site, tmp_path) == b""
    assert asked(site, tmp_path, other.edge_certificate, other.edge_key) == b""
    assert asked(site, tmp_path, pair.pem.decode(), pair.key_pem.decode()) == b""
    # The gate's own pair, too: it is for the other end.
    link = Link(**json.loads(site.machine.run("cat", f"{site.state}/secrets/link.json")))
    assert asked(site, tmp_path, link.gate_certificate, link.gate_key) == b""
    assert asked(site, tmp_path, link.edge_certificate, link.edge_key).startswith(b"HTTP/1.1 200 OK"), "it is there"


def test_a_gate_that_is_killed_is_back_and_kernels_went_on(site: Site, known: dict[str, Any]) -> None:
    kernel = on(site, known)
    first = site.process("gate")
    others = {part: site.process(part) for part in ("hub", "proxy", "launcher")}
    site.machine.kill(first)
    soon(lambda: site.process("gate") not in (0, first), 60)
    soon(lambda: _login(site.front), 60)
    on(site, known).close()
    kernel.close()
    assert {part: site.process(part) for part in others} == others
    soon(lambda: site.status()["state"] == "running", 60)
    assert site.changes() == []


PROBE = """
import socket
def reached(*target):
    try:
        socket.create_connection(target, timeout=3).close()
    except OSError:
        return "blocked"
    return "OPEN"
"""


def test_users_servers_do_not_reach_the_gate(site: Site, known: dict[str, Any]) -> None:
    kernel = on(site, known)
    kernel.run(PROBE)
    ask = f"print(reached({site.machine.address!r}, {LINK_PORT}))"
    assert kernel.run(ask) == "blocked\n"
    machine = site.machine
    # Docker's own rule between its networks is in the way as well: without both there is one.
    machine.run(f"nft delete table inet {Firewall(site.name, interface='').table}")
    machine.run("iptables -I DOCKER-USER -j ACCEPT")
    try:
        assert kernel.run(ask) == "OPEN\n"
    finally:
        machine.run("iptables -D DOCKER-USER -j ACCEPT")
        site.up()
    assert kernel.run(ask) == "blocked\n"
    kernel.close()


# -- one of them is away -----------------------------------------------------------------------------------------------


def test_without_the_edge_each_command_says_so_and_what_works_still(site: Site, known: dict[str, Any]) -> None:
    site.front.cut_power()
    status = site.status()
    assert status["state"] == "degraded"
    (problem,) = status["problems"]
    assert "edge: front cannot be reached" in problem
    assert "running servers go on" in problem
    assert status["processes"]["edge"]["state"] == "unreachable"
    assert status["processes"]["hub"]["state"] == "running"
    assert [entry["user"] for entry in status["servers"]] == ["ada"]
    for words in (["up", "--yes"], ["plan"]):
        code, said = site.fails(*words)
        assert code == 8, said
        assert "front: " in said
        assert "running servers on hub1 go on" in said
    code, said = site.fails("logs", "edge")
    assert code == 8
    assert "front: " in said
    assert site.run("logs", "hub").stdout
    site.front.start()
    site.await_answer()
    on(site, known).close()
    soon(lambda: site.status()["state"] == "running", 60)


def test_both_come_back_by_themselves(site: Site) -> None:
    site.machine.reboot()
    site.await_answer(120)
    soon(lambda: site.status()["state"] == "running", 60)


def test_a_gate_that_cannot_be_reached_is_known(site: Site) -> None:
    rule = f"INPUT -s {site.front.address} -p tcp --dport {LINK_PORT} -j DROP"
    port = f"FORWARD -s {site.front.address} -j DROP"
    site.machine.run(f"iptables -I {rule}; iptables -I {port}")
    try:
        (problem,) = site.status()["problems"]
        assert f"front does not reach hub1 at {site.machine.address}, TCP port {LINK_PORT}" in problem
        code, said = site.fails("check")
        assert code == 3
        assert f"front does not reach hub1 at {site.machine.address}, TCP port {LINK_PORT}" in said
    finally:
        site.machine.run(f"iptables -D {rule}; iptables -D {port}")
    assert site.status()["problems"] == []


def test_keys_whose_end_is_near_are_made_anew(site: Site) -> None:
    old = make(datetime.now(timezone.utc) - LIFETIME + RENEWED - timedelta(days=1))
    file = f"{site.state}/secrets/link.json"
    site.machine.run(f"cat > {file}", text=old.to_json())
    changed = {change["resource"].rpartition("/")[2] for change in site.changes()}
    assert {"link.json", "key.pem", "certificate.pem", "edge.pem", "gate.pem"} <= changed
    site.up()
    assert json.loads(site.machine.run("cat", file))["gate_key"] != old.gate_key
    assert site.changes() == []
    assert site.status()["problems"] == []
    assert _login(site.front)


# -- and back ----------------------------------------------------------------------------------------------------------


def test_it_is_rolled_back_to_one_machine_and_the_edges_place_is_clean(site: Site, known: dict[str, Any]) -> None:
    ada = known["ada"] = site.known("ada")
    assert ada.start()[-1]["ready"]
    kernel = ada.kernel()
    kernel.run("kept = 42")
    known["kernel"] = kernel.id
    kernel.close()
    # What it is made of stays there: to build it anew takes minutes, and is no part of what is tested.
    site.front.docker("tag", site.front.docker("images", "--quiet", "hubfleet/edge"), "spare:1")
    with watched(site.machine, site.front) as seen:
        site.run("rollback", "1", "--yes")
    assert seen.count(False) <= 3, "the hub was away while it moved"
    assert site.parts(site.machine) == {"homes", "launcher", "proxy", "hub", "edge"}
    assert site.parts(site.front) == set()
    assert site.front.docker("images", "--quiet", "hubfleet/edge") == ""
    assert not open_port(site.front, 443)
    assert not open_port(site.machine, LINK_PORT)
    site.move(apart=False)
    site.trust()
    on(site, known).close()
    assert site.changes() == []


def test_and_to_two_again(site: Site, known: dict[str, Any]) -> None:
    two = next(number for number in range(2, 6) if "front" in machines(site, number))
    site.run("rollback", str(two), "--yes", timeout=600)
    assert site.parts(site.machine) == {"homes", "launcher", "proxy", "hub", "gate"}
    assert site.parts(site.front) == {"edge"}
    site.move(apart=True)
    assert site.changes() == []
    site.trust()
    on(site, known).close()


def machines(site: Site, number: int) -> set[str]:
    """Those of a generation."""
    return set(json.loads(site.machine.run("cat", f"{site.state}/generations/{number:04d}/manifest.json"))["machines"])


def test_an_edge_that_is_lost_is_replaced_by_the_hubs_machine(site: Site) -> None:
    site.front.cut_power()
    site.move(apart=False)
    said = site.up()
    assert "front cannot be reached" in said
    assert site.parts(site.machine) == {"homes", "launcher", "proxy", "hub", "edge"}
    assert site.status()["state"] == "running"
    assert _login(site.machine)
    site.front.start()
    assert site.changes() == []
    site.move(apart=True)
    site.up()
    assert site.parts(site.machine) == {"homes", "launcher", "proxy", "hub", "gate"}
    assert _login(site.front)


def test_it_moves_back_and_all_of_both_is_deleted(site: Site, known: dict[str, Any]) -> None:
    site.move(apart=False)
    site.up()
    assert site.parts(site.machine) == {"homes", "launcher", "proxy", "hub", "edge"}
    assert site.parts(site.front) == set()
    assert site.changes() == []
    on(site, known).close()
    site.run("down", "--delete-data", "--yes-delete", "lab")
    for machine in (site.machine, site.front):
        assert machine.docker("ps", "--all", "--quiet") == ""
        assert "hubfleet" not in machine.docker("network", "ls")
        assert machine.docker("images", "--quiet", "hubfleet/edge") == ""
        assert machine.run("getent passwd; getent group").count("-lab") == 0
        assert "lab" not in machine.run("ls", "/var/lib/hubfleet").split()
    assert site.machine.docker("images", "--quiet", "hubfleet/*") == ""
