"""A fleet comes up behind the machines' own firewalls, each another one that lets in SSH and nothing else.

hub1 has ufw, worker1 firewalld, worker2 rules of nftables. One fleet for all, and the tests build on each other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dockerd
import pytest
from deployed import Server
from machines import Lab, Machine
from stock import stocked
from ways_there import MEMBERS, arrives, closed, connects

import needs
from hubfleet.machines import SSHMachine
from hubfleet.resources import Opening
from waiting import soon

pytestmark = needs.machines()

WORKERS = ("worker1", "worker2")
OTHERS_PORT = 9944
_NFTABLES = """\
#!/usr/sbin/nft -f
table inet filter
delete table inet filter
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iif lo accept
        tcp dport 22 accept comment "theirs"
    }
}
"""
_INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends"
_LISTS = {
    "hub1": "ufw status verbose; cat /etc/ufw/user.rules",
    "worker1": "firewall-cmd --list-all-zones | grep -v interfaces; firewall-cmd --permanent --list-all-zones; "
    "firewall-cmd --permanent --list-all-policies; ls /etc/firewalld/policies",
    "worker2": "nft list table inet filter; ls /etc/systemd/system | grep opening; ls /etc/hubfleet/openings/*",
}
"""What each firewall says of all that it lets in, ours and others'."""


def guarded(machine: Machine) -> None:
    """Give a machine its firewall."""
    machine.run("apt-get update -qq")
    if machine.name == "hub1":
        machine.run(f"{_INSTALL} ufw && ufw allow 22/tcp comment theirs && ufw --force enable")
    elif machine.name == "worker1":
        machine.run(f"{_INSTALL} firewalld && systemctl enable --now firewalld")
        soon(lambda: machine.run("firewall-cmd --state", check=False) == "running")
    else:
        machine.run("cat > /etc/nftables.conf && systemctl enable --now nftables", text=_NFTABLES)


class Fleet(Server):
    """A hub on ``machine``, with workers. Homes are a directory that all of them have."""

    def __init__(self, machine: Machine, workers: list[Machine], shared: Path, folder: Path) -> None:
        self.workers = {worker.name: worker for worker in workers}
        self.shared = shared
        super().__init__(machine, folder, "lab")
        text = (folder / "ssh_config").read_text()
        others = "".join(text.replace(machine.address, one.address) for one in workers)
        (folder / "ssh_config").write_text(text + others)
        self.write("")

    @property
    def machines(self) -> dict[str, Machine]:
        return {"hub1": self.machine, **self.workers}

    def write(self, settings: str, *, encrypted: bool = False) -> None:
        machines = {
            name: {
                "ssh": f"root@{one.address}",
                "ssh_config": "ssh_config",
                "private_ip": one.address,
                "roles": ["hub" if one is self.machine else "worker"],
            }
            for name, one in self.machines.items()
        }
        told: dict[str, Any] = {"hub": self.name, "base_image": dockerd.BASE, "https": "self-signed"}
        told |= {"engine": "swarm", "machines": machines}
        told |= {"storage": {"homes": {"path": str(self.shared), "share": "mounted"}}}
        told["network"] = {"fleet": {"encrypted": encrypted, "servers": 100}}
        (self.folder / "hubfleet.yaml").write_text(json.dumps(told))

    def findings(self) -> tuple[int, dict[str, list[str]]]:
        """What `hubfleet check` says: its exit code, and texts by level."""
        done = self.run("check", "--json", check=False)
        found: dict[str, list[str]] = {"ok": [], "note": [], "problem": []}
        for finding in json.loads(done.stdout)["findings"]:
            found[finding["level"]].append(finding["text"])
        return done.returncode, found

    def closed(self) -> list[str]:
        """Which ways that the fleet needs are not open, as tried between its machines."""
        return closed(self.folder)

    def firewalls(self) -> dict[str, str]:
        """What each says of all that it lets in."""
        return {name: one.run(_LISTS[name], check=False) for name, one in self.machines.items()}


@pytest.fixture(scope="module")
def place(lab: Lab, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Machines with firewalls; the hub has never been there."""
    hub = stocked(lab, "hub1", shared=shared)
    workers = [lab.start(name, docker_installed=True, shared=shared) for name in WORKERS]
    for machine in (hub, *workers):
        guarded(machine)
        machine.start_docker()
    return Fleet(hub, workers, shared, tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def fleet(place: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """The same, and this process trusts the edge's authority."""
    place.trusted(monkeypatch)
    return place


@pytest.fixture(scope="module")
def stranger(lab: Lab, place: Fleet) -> Machine:
    """A machine on the same network that is none of the fleet's."""
    return lab.start("stranger")


@pytest.fixture(scope="module")
def before(place: Fleet) -> dict[str, str]:
    """What the firewalls let in before there was a hub."""
    return place.firewalls()


# -- before anything is changed --------------------------------------------------------------------------------------


def test_a_kernel_that_cannot_encrypt_is_found_before_anything_is_changed(fleet: Fleet, before: dict[str, str]) -> None:
    """None of these can, since they have this machine's."""
    fleet.write("", encrypted=True)
    code, found = fleet.findings()
    problems = found["problem"]
    assert code == 3
    assert [text.partition(":")[0] for text in problems] == ["hub1", *WORKERS]
    assert all("its kernel has no ESP" in text and "encrypted: false" in text for text in problems)
    done = fleet.run("up", "--yes", check=False)
    assert (done.returncode, "Nothing was changed" in done.stderr) == (3, True)
    assert fleet.firewalls() == before
    assert fleet.machine.run("ls /var/lib/hubfleet", check=False).endswith("No such file or directory")
    fleet.write("")


def test_check_names_each_firewall_and_what_it_will_let_in(fleet: Fleet, before: dict[str, str]) -> None:
    code, found = fleet.findings()
    assert (code, found["problem"]) == (0, [])
    said = "\n".join(found["ok"])
    hub, one, two = (machine.address for machine in fleet.machines.values())
    assert f"hub1: ufw is its firewall, which hubfleet up has let in {one} and {two} at TCP 2377 and 7946, UDP" in said
    assert f"worker1: firewalld is its firewall, which hubfleet up has let in {hub} and {two} at TCP 7946, UDP" in said
    assert "worker2: nftables inet filter input is its firewall, which hubfleet up has let in" in said
    assert fleet.firewalls() == before


# -- up --------------------------------------------------------------------------------------------------------------


def test_the_fleet_comes_up_and_servers_on_every_machine_are_reached(fleet: Fleet, before: dict[str, str]) -> None:
    plan = fleet.plan()
    assert plan.count("opening for hub lab") == 3
    assert "ufw lets in" in plan
    fleet.up()
    assert "nothing to change" in fleet.plan()
    people = [fleet.person(name) for name in ("ada", "ben")]
    for person in people:
        last = person.start()[-1]
        assert last.get("ready"), last
    found = json.loads(fleet.run("machine", "--json").stdout)["machines"]
    assert [len(entry["servers"]) for entry in found if entry["name"] in WORKERS] == [1, 1]
    assert [person.kernel().run("print(6 * 7)").strip() for person in people] == ["42", "42"]


def test_exactly_what_is_needed_is_open_and_to_nobody_else(fleet: Fleet, stranger: Machine) -> None:
    hub, one, two = fleet.machines.values()
    assert fleet.closed() == []
    assert arrives(one, hub, "tcp/2377", *MEMBERS) == {"tcp/2377", *MEMBERS}
    for target in (hub, one, two):
        source = one if target is not one else two
        # No "esp" here, which has no ports: where one has sent it, the other's is an answer.
        assert arrives(source, target, f"tcp/{OTHERS_PORT}", "udp/53") == set(), target.name
        assert arrives(stranger, target, "tcp/2377", *MEMBERS, "esp") == set(), target.name
        assert arrives(stranger, target, "tcp/22") == {"tcp/22"}, "or else the last line would say nothing"
    assert arrives(one, two, "tcp/2377") == set(), "a worker manages nothing"
    assert not connects(stranger, hub, 2377)
    assert connects(one, hub, 2377)
    assert connects(stranger, hub, 443), "people come in"


def test_it_stays_open_when_a_firewall_is_loaded_anew(fleet: Fleet) -> None:
    fleet.machine.run("ufw reload")
    fleet.workers["worker1"].run("firewall-cmd --reload")
    fleet.workers["worker2"].run("systemctl reload nftables")
    assert fleet.closed() == []
    fleet.workers["worker2"].run("systemctl restart nftables")
    fleet.workers["worker1"].run("systemctl restart firewalld")
    soon(lambda: fleet.workers["worker1"].run("firewall-cmd --state", check=False) == "running")
    assert fleet.closed() == []
    assert "nothing to change" in fleet.plan()


def test_it_is_open_after_a_reboot(fleet: Fleet, stranger: Machine) -> None:
    for name in WORKERS:
        fleet.workers[name].reboot()
    soon(lambda: fleet.closed() == [], 60)
    assert arrives(stranger, fleet.workers["worker2"], *MEMBERS) == set(), "the firewall itself is back, too"
    listed = "{{.Status}}"
    soon(lambda: set(fleet.machine.docker("node", "ls", "--format", listed).split()) == {"Ready"}, 90)


def test_what_somebody_takes_out_comes_back_with_the_next_up(fleet: Fleet) -> None:
    worker = fleet.workers["worker2"]
    worker.run("nft -f /etc/nftables.conf")
    assert "worker2: nftables inet filter input" in "\n".join(fleet.closed())
    assert "nftables inet filter input lets in" in fleet.plan()
    fleet.up()
    assert fleet.closed() == []


def test_what_stands_elsewhere_is_found_by_trying(fleet: Fleet) -> None:
    """As a cloud's own groups would: nothing on the machine that is not reached tells of it."""
    rule = f"ip daddr {fleet.machine.address} udp dport 4789 drop"
    chain = "'{ type filter hook output priority 0; }'"
    worker = fleet.workers["worker1"]
    worker.run(
        f"nft add table inet cloud && nft add chain inet cloud out {chain} && nft add rule inet cloud out {rule}"
    )
    code, found = fleet.findings()
    worker.run("nft delete table inet cloud")
    assert code == 3
    (problem,) = found["problem"]
    assert problem.startswith(f"worker1 ({worker.address}) does not reach hub1 ({fleet.machine.address}) at UDP 4789: ")
    assert "security groups of a cloud" in problem


def test_another_hub_on_the_same_machines_keeps_its_own(fleet: Fleet) -> None:
    """Its rules say the same as ours, and go with it alone."""
    others = {
        name: Opening(
            "other",
            tuple((one.address, what) for one in fleet.machines.values() if one.name != name for what in MEMBERS),
        )
        for name in fleet.machines
    }
    fleet.run("down", "--yes")
    told = {name: SSHMachine(name, f"root@{one.address}", one.options()) for name, one in fleet.machines.items()}

    def do(make: bool) -> None:
        for name, opening in others.items():
            seen = told[name].observe([opening])[opening.id]
            change = opening.diff(seen) if make else opening.removal(seen)
            assert change is not None, (name, seen)
            told[name].apply(change, lambda line: None)

    do(True)
    fleet.up()
    fleet.run("down", "--yes")
    for name, opening in others.items():
        assert opening.diff(told[name].observe([opening])[opening.id]) is None, name
    fleet.up()
    do(False)
    assert fleet.closed() == []
    assert "nothing to change" in fleet.plan()
    for one in told.values():
        one.close()


# -- and closed again ------------------------------------------------------------------------------------------------


def test_down_closes_it_and_leaves_what_others_have(fleet: Fleet, before: dict[str, str]) -> None:
    fleet.run("down", "--yes")
    hub, one, two = fleet.machines.values()
    assert arrives(one, hub, "tcp/2377", *MEMBERS) == set()
    assert arrives(hub, two, *MEMBERS) == set()
    assert fleet.firewalls() == before
    fleet.up()
    ada = fleet.person("eve")
    assert ada.start()[-1].get("ready")
    assert fleet.closed() == []
    fleet.run("down", "--yes")


def test_deleted_nothing_is_left(fleet: Fleet, before: dict[str, str]) -> None:
    fleet.up()
    fleet.run("down", "--delete-data", "--yes-delete", "lab")
    assert fleet.firewalls() == before
