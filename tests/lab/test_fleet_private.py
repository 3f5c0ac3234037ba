"""Machines that have an address for people and operators, and another one for each other: what is between them is said
and let in there, and nowhere else.

One fleet for all, and the tests build on each other. All machines have a firewall that lets in SSH and nothing else.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from fleet_there import Fleet, started
from harness import Person
from machines import Lab, Machine
from stock import stocked
from ways_there import MEMBERS, arrives, closed, connects

import needs
from hubfleet.config.fleet import REGISTRY_PORT

pytestmark = needs.machines()

WORKERS = ("worker1", "worker2")
MANAGER = 2377
BETWEEN = (MANAGER, 7946, 4789, REGISTRY_PORT)
"""The ports at which machines of a fleet speak to each other."""
_CLOSED = """\
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iif lo accept
        tcp dport 22 accept
    }
}
"""
_WATCH = """\
table inet watch {{
    chain seen {{
        type filter hook prerouting priority raw - 10;
        ip daddr {public} meta l4proto {{ tcp, udp }} th dport {{ {ports} }} counter comment "public"
        ip daddr {private} meta l4proto {{ tcp, udp }} th dport {{ {ports} }} counter comment "private"
    }}
    chain sent {{
        type filter hook output priority raw - 10;
        oif eth0 meta l4proto {{ tcp, udp }} th dport {{ {ports} }} counter comment "public"
        oif eth1 meta l4proto {{ tcp, udp }} th dport {{ {ports} }} counter comment "private"
    }}
}}
"""
TRIED = """
import socket
for host, port in {targets}:
    try:
        socket.create_connection((host, port), 2).close()
        print(host, port)
    except OSError:
        pass
"""
"""Prints what a connection is made to."""


@pytest.fixture(scope="module")
def place(lab: Lab, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """The hub has never been there."""
    hub = stocked(lab, "hub1", shared=shared)
    workers = [lab.start(name, docker_installed=True, shared=shared) for name in WORKERS]
    lab.wire(hub, *workers)
    ports = ", ".join(map(str, BETWEEN))
    for machine in (hub, *workers):
        machine.run("nft -f -", text=_CLOSED)
        machine.run("nft -f -", text=_WATCH.format(public=machine.address, private=machine.private, ports=ports))
        machine.start_docker()
    made = Fleet(hub, workers, shared, tmp_path_factory.mktemp("fleet"))
    # What could be reached in both networks is reached, but for the machines.
    allow = [f"{one.rpartition('.')[0]}.0/24" for one in (hub.address, hub.private)]
    made.more["network"] = {"fleet": {"encrypted": False, "servers": 100}, "allow": allow}
    made.grow(*WORKERS)
    return made


@pytest.fixture
def fleet(place: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """The same; this process trusts its edge's authority, if there is one."""
    place.trusted(monkeypatch)
    return place


@pytest.fixture(scope="module")
def stranger(lab: Lab, place: Fleet) -> Machine:
    """A machine on the public network that is none of the fleet's."""
    return lab.start("stranger")


@pytest.fixture(scope="module")
def people() -> dict[str, Person]:
    """Who is there already."""
    return {}


def machines(fleet: Fleet) -> list[Machine]:
    return [fleet.machine, *fleet.workers.values()]


def seen(machine: Machine) -> dict[str, int]:
    """How many packets for the ports between machines have come to each of its addresses, and gone out there."""
    found = {"public": 0, "private": 0}
    for entry in json.loads(machine.run("nft -j list table inet watch"))["nftables"]:
        if rule := entry.get("rule"):
            (counted,) = [one["counter"]["packets"] for one in rule["expr"] if "counter" in one]
            found[rule["comment"]] += counted
    return found


def test_it_comes_up_and_nothing_passes_by_the_public_addresses(fleet: Fleet, people: dict[str, Person]) -> None:
    plan = fleet.plan()
    others = sorted(one.private for one in machines(fleet)[1:])
    assert f"{others[0]}" in plan.partition("opening for hub lab")[2]
    fleet.up()
    assert "nothing to change" in fleet.plan()
    for name in ("ada", "ben"):
        people[name] = fleet.person(name)
        started(people[name])
    assert {fleet.where(person) for person in people.values()} == set(WORKERS)
    assert [person.kernel().run("print(6 * 7)").strip() for person in people.values()] == ["42", "42"]
    for machine in machines(fleet):
        counted = seen(machine)
        assert counted["public"] == 0, (machine.name, counted)
        assert counted["private"] > 100, (machine.name, counted)


def test_the_swarm_knows_machines_by_their_private_addresses(fleet: Fleet) -> None:
    for machine in machines(fleet):
        assert machine.docker("info", "--format", "{{.Swarm.NodeAddr}}") == machine.private
        kept = json.loads(machine.run("cat /var/lib/docker/swarm/docker-state.json"))
        assert kept["AdvertiseAddr"].partition(":")[0] == machine.private, kept
        assert kept["DataPathAddr"] == machine.private, kept
        assert kept["ListenAddr"] == f"{machine.private}:{MANAGER}", kept
    addresses = fleet.machine.docker("node", "inspect", "--format", "{{.Status.Addr}}", *_nodes(fleet)).split()
    assert sorted(addresses) == sorted(one.private for one in machines(fleet))
    reachable = "{{if .ManagerStatus}}{{.ManagerStatus.Addr}}{{end}}"
    managers = fleet.machine.docker("node", "inspect", "--format", reachable, *_nodes(fleet)).split()
    assert managers == [f"{fleet.machine.private}:{MANAGER}"]


def _nodes(fleet: Fleet) -> list[str]:
    return fleet.machine.docker("node", "ls", "--quiet").split()


def test_nothing_listens_at_the_public_addresses_but_what_is_for_people(fleet: Fleet) -> None:
    """Of what comes with the tunnel's own socket, the kernel's, there is only one for all addresses; see below."""
    for machine in machines(fleet):
        said = machine.run("ss --no-header --listening --tcp --udp --numeric").splitlines()
        at = [line.split()[4].rpartition(":") for line in said]
        found = {(host, int(port)) for host, _, port in at if not host.startswith(("127.", "[::1]"))}
        between = {(host, port) for host, port in found if port in BETWEEN and port != 4789}
        assert {host for host, _ in between} == {machine.private}, found
        people = {80, 443} if machine is fleet.machine else set()
        assert {port for host, port in found if host != machine.private} - {4789} == {22, *people}, found


def test_only_machines_of_the_fleet_come_in_and_only_there(fleet: Fleet, stranger: Machine) -> None:
    assert closed(fleet.folder) == []
    hub, one, two = machines(fleet)
    assert arrives(one, hub, "tcp/2377", *MEMBERS, private=True) == {"tcp/2377", *MEMBERS}
    for target in (hub, one, two):
        source = one if target is not one else two
        assert arrives(source, target, "tcp/2377", *MEMBERS) == set(), target.name
        assert arrives(stranger, target, "tcp/2377", *MEMBERS) == set(), target.name
        assert arrives(stranger, target, "tcp/22") == {"tcp/22"}, "or else the last line would say nothing"
        rules = target.run("nft list chain inet filter input")
        ours = [line for line in rules.splitlines() if 'comment "hubfleet lab"' in line]
        assert ours
        assert [line for line in ours if any(other.address in line for other in machines(fleet))] == []
    # These are containers', around which Docker leads what comes in.
    assert connects(one, hub, REGISTRY_PORT, at=hub.private)
    assert not connects(one, hub, REGISTRY_PORT, at=hub.address)
    assert not connects(stranger, hub, REGISTRY_PORT)
    assert connects(stranger, hub, 443), "people come in"


def test_servers_reach_no_machine_at_either_address(fleet: Fleet, stranger: Machine, people: dict[str, Person]) -> None:
    """Both networks are allowed, so that nothing but what is said of the machines keeps them away."""
    at_all = [(host, port) for one in machines(fleet) for host in (one.address, one.private) for port in (22, 443)]
    targets = [*at_all, (fleet.machine.private, MANAGER), (fleet.machine.private, REGISTRY_PORT)]
    other = people["ada"], people["ben"]
    for person, neighbour in (other, other[::-1]):
        (url,) = [one["url"] for one in fleet.status()["servers"] if one["user"] == neighbour.name]
        host, _, port = url.removeprefix("http://").partition(":")
        tried = [*targets, (host, int(port)), (stranger.address, 22)]
        assert person.kernel().run(TRIED.format(targets=tried)).split() == [stranger.address, "22"]


def test_down_closes_it(fleet: Fleet) -> None:
    fleet.run("down", "--yes")
    hub, one, _ = machines(fleet)
    assert arrives(one, hub, "tcp/2377", *MEMBERS, private=True) == set()
    asked = ["ssh", *hub.options(), f"root@{hub.address}", "nft list ruleset | grep -c 'hubfleet lab' || true"]
    assert subprocess.run(asked, capture_output=True, text=True).stdout.strip() == "0"
