"""On a network that spans machines, users' servers reach the hub's doors and nobody else, whatever happens.

Each way is tried without the guard first, where it is open, and then with it: no way is shut for another reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import dockerd
import probes
import pytest
from fleets import FLEET, SUBNET, Fleet, Wanted, guard_image, merged
from machines import Machine

import needs
from hubfleet import guard
from hubfleet.errors import ApplyError
from hubfleet.resources import Container
from waiting import soon

pytestmark = needs.machines(900)
HUB, LAUNCHER = "10.88.0.2", "10.88.0.4"
DOORS = ((HUB, 8081), (LAUNCHER, 7446))
PORTS = "8081 7446 7447 8888 22"
SHUT = [(HUB, 7446), (HUB, 8888), (HUB, 22), (LAUNCHER, 7447), (LAUNCHER, 8081)]
IN_FORCE = "table bridge hubfleet"


@dataclass(frozen=True)
class Place:
    """A container on the network. ``address``: there; ``local``: its IPv6 address on that link."""

    machine: Machine
    name: str
    address: str
    local: str

    def tries(self, ways: dict[str, probes.Way]) -> dict[str, str]:
        said = self.machine.docker("exec", "--interactive", self.name, "python3", "-", text=probes.client(ways))
        return dict(json.loads(said))

    def reaches(self, *places: tuple[str, int]) -> list[bool]:
        """By TCP, in this order."""
        ways: dict[str, probes.Way] = {f"{address} {port}": ("tcp", address, port) for address, port in places}
        found = self.tries(ways)
        return [found[way] == "reached" for way in ways]


@pytest.fixture(scope="module")
def network(fleet: Fleet) -> Iterator[Fleet]:
    """The network, and the guard's image on each machine."""
    fleet.up(fleet.wanted())
    image = guard_image(fleet.lab.engine)
    for machine in fleet.machines.values():
        machine.load(image)
    yield fleet
    for machine in fleet.machines.values():
        for name in machine.docker("ps", "--all", "--quiet").split():
            machine.docker("rm", "--force", name)


def guarded(fleet: Fleet, image: str) -> Wanted:
    """The guard on hub1 and work1."""
    found = {}
    for number, name in enumerate(("hub1", "work1")):
        found[name] = Container(
            "guard",
            image,
            guard.command("python3", SUBNET, DOORS),
            network=FLEET,
            networks=((FLEET, f"10.88.0.{8 + number}"),),
            mounts=((guard.NAMESPACES, guard.NAMESPACES, "ro"),),
            tmpfs=(("/tmp", 1024**2),),
            capabilities=guard.CAPABILITIES,
            health=tuple(guard.health("python3")),
        )
    return merged(fleet.wanted(), {name: (container,) for name, container in found.items()})


def place(machine: Machine, name: str, address: str = "") -> Place:
    """A container like a user's server, or of the hub where an address is asked for."""
    where = ["--network", FLEET, *(["--ip", address] if address else [])]
    program = probes.SERVER.replace("PORTS", repr(PORTS))
    machine.docker("rm", "--force", name, check=False)
    machine.docker("run", "--detach", "--init", "--name", name, *where, dockerd.BASE, "python3", "-c", program)
    given = machine.docker(
        "inspect", "--format", f'{{{{(index .NetworkSettings.Networks "{FLEET}").IPAddress}}}}', name
    )
    pid = machine.docker("inspect", "--format", "{{.State.Pid}}", name)
    # the engine switches IPv6 off in containers of such a network; nothing in ours may depend on that
    inside = f"nsenter --net=/proc/{pid}/ns/net"
    machine.run(f"{inside} sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=0 net.ipv6.conf.eth0.accept_dad=0")
    form = f"{inside} ip -6 -o address show dev eth0 scope link"
    local = soon(lambda: machine.run(form)).split()[3].partition("/")[0]
    return Place(machine, name, given, f"{local}%eth0")


def ways(one: Place, other: Place) -> dict[str, str]:
    """How a server might reach another container, and what came of each."""
    tried: dict[str, probes.Way] = {"icmp": ("icmp", other.address)}
    tried.update(tcp6=("tcp", other.local, 8888), udp6=("udp", other.local, 8888))
    for kind in ("tcp", "udp"):
        tried.update({f"{kind} {port}": (kind, other.address, port) for port in (22, 8081, 8888)})
    return one.tries(tried)


def arrived(there: Place) -> int:
    """How many UDP packets have come to a container."""
    pid = there.machine.docker("inspect", "--format", "{{.State.Pid}}", there.name)
    names, numbers = there.machine.run(f"grep ^Udp: /proc/{pid}/net/snmp").splitlines()
    return int(dict(zip(names.split(), numbers.split(), strict=True))["InDatagrams"])


def reached(found: dict[str, str]) -> set[str]:
    return {way for way, said in found.items() if said == "reached"}


@dataclass(frozen=True)
class People:
    hub: Place
    launcher: Place
    ann: Place  # on the hub's machine
    bob: Place  # these two on another
    cat: Place

    @property
    def pairs(self) -> list[tuple[Place, Place]]:
        return [(self.bob, self.cat), (self.ann, self.bob), (self.bob, self.ann)]


@pytest.fixture(scope="module")
def people(network: Fleet) -> People:
    hub1, work1 = network["hub1"], network["work1"]
    hub, launcher = place(hub1, "hub", HUB), place(hub1, "launcher", LAUNCHER)
    return People(hub, launcher, place(hub1, "ann"), place(work1, "bob"), place(work1, "cat"))


@pytest.fixture
def kept(network: Fleet, people: People) -> Fleet:
    """The guard is on both machines, and the rules are in force."""
    network.up(guarded(network, guard_image(network.lab.engine)))
    return network


def namespace(machine: Machine) -> str:
    """The network's own, on this machine."""
    short = machine.docker("network", "inspect", "--format", "{{.Id}}", FLEET)[:10]
    return machine.run(f"ls -d /run/docker/netns/*-{short}")


def in_force(machine: Machine) -> bool:
    return IN_FORCE in machine.run(f"nsenter --net={namespace(machine)} nft list ruleset", check=False)


def test_without_the_guard_everybody_reaches_everybody(people: People) -> None:
    for one, other in people.pairs:
        # between machines nobody tells IPv6 neighbours of each other
        shut = set() if one.machine is other.machine else {"tcp6", "udp6"}
        # one that has just come is not a neighbour of the others at once
        soon(lambda: (found := ways(one, other)).keys() - reached(found) == shut)  # noqa: B023
    for one in (people.ann, people.bob):
        assert all(one.reaches(*DOORS, *SHUT))


def test_servers_do_not_reach_each_other_by_any_way(kept: Fleet, people: People) -> None:
    for one, other in people.pairs:
        found = ways(one, other)
        assert reached(found) == set(), (one.name, other.name, found)


def test_servers_reach_the_doors_of_the_hub_and_nothing_else_of_it(kept: Fleet, people: People) -> None:
    for one in (people.ann, people.bob):
        assert all(one.reaches(*DOORS))
        assert not any(one.reaches(*SHUT))
        for other, doors in ((people.hub, {"tcp 8081"}), (people.launcher, set())):
            found = ways(one, other)
            assert reached(found) == doors, (one.name, other.name, found)


def test_the_hub_reaches_servers_on_each_machine(kept: Fleet, people: People) -> None:
    for one in (people.hub, people.launcher):
        assert all(one.reaches(*((other.address, 8888) for other in (people.ann, people.bob, people.cat))))


def test_nobody_passes_by_the_network_s_own_address(kept: Fleet, people: People) -> None:
    """The bridge has an address; who sends to it is not passed on to others, even with a route."""
    bob, cat = people.bob, people.cat
    pid = bob.machine.docker("inspect", "--format", "{{.State.Pid}}", bob.name)
    inside = f"nsenter --net=/proc/{pid}/ns/net"
    bob.machine.run(f"nsenter --net={namespace(bob.machine)} sysctl -q -w net.ipv4.ip_forward=1")
    bob.machine.run(f"{inside} ip route add {cat.address}/32 via 10.88.0.1")
    try:
        before = arrived(cat)
        assert reached(ways(bob, cat)) == set()
        assert arrived(cat) == before, "what asks for no answer comes through"
        # and this was a way: without the rules it is open
        bob.machine.docker("pause", "guard")
        bob.machine.run(f"nsenter --net={namespace(bob.machine)} nft flush ruleset")
        assert "tcp 8888" in reached(ways(bob, cat))
        assert arrived(cat) > before
    finally:
        bob.machine.docker("unpause", "guard", check=False)
        bob.machine.run(f"{inside} ip route del {cat.address}/32")
    soon(lambda: in_force(bob.machine))


@pytest.mark.parametrize(
    "how", ["flush ruleset", "delete table bridge hubfleet", "flush chain bridge hubfleet forward"]
)
def test_rules_that_somebody_takes_away_come_back(kept: Fleet, people: People, how: str) -> None:
    work1 = kept["work1"]
    inside = f"nsenter --net={namespace(work1)}"
    before = work1.run(f"{inside} nft list ruleset")
    work1.run(f"{inside} nft {how}")
    soon(lambda: work1.run(f"{inside} nft list ruleset") == before)
    assert reached(ways(people.bob, people.cat)) == set()
    assert people.bob.reaches(DOORS[0]) == [True]


def test_rules_stay_while_the_guard_is_dead_and_are_kept_again_after(kept: Fleet, people: People) -> None:
    work1 = kept["work1"]
    before = work1.docker("inspect", "--format", "{{.State.StartedAt}}", "guard")
    pid = work1.run("pgrep", "-f", "hubfleet.guard.daemon").split()
    work1.run(f"kill -9 {' '.join(pid)}")
    assert in_force(work1)
    assert reached(ways(people.bob, people.cat)) == set()
    soon(lambda: work1.docker("inspect", "--format", "{{.State.StartedAt}}", "guard") != before, 60)
    soon(lambda: work1.docker("inspect", "--format", "{{.State.Health.Status}}", "guard") == "healthy", 60)
    work1.run(f"nsenter --net={namespace(work1)} nft flush ruleset")
    soon(lambda: in_force(work1))


def test_the_engine_is_restarted_and_the_network_made_anew(kept: Fleet) -> None:
    work1 = kept["work1"]
    work1.run(f"nsenter --net={namespace(work1)} nft add table inet earlier")  # its number may be given out again
    work1.run("systemctl restart docker")
    soon(lambda: work1.docker("inspect", "--format", "{{.State.Health.Status}}", "guard") == "healthy", 90)
    assert "earlier" not in work1.run(f"nsenter --net={namespace(work1)} nft list tables")
    assert in_force(work1)
    bob, cat = place(work1, "bob"), place(work1, "cat")
    assert reached(ways(bob, cat)) == set()
    assert bob.reaches(DOORS[0]) == [True]


def test_a_guard_that_cannot_keep_the_rules_says_so(kept: Fleet) -> None:
    """Its container is not taken for one that is up, and the earlier one is put back."""
    wanted = guarded(kept, guard_image(kept.lab.engine))
    good = wanted["work1"][-1]
    assert isinstance(good, Container)
    bad = replace(good, argv=guard.command("python3", "10.99.0.0/20", DOORS))
    there = kept.reach()["work1"]
    change = bad.diff(there.observe([bad])[bad.id])
    assert change
    with pytest.raises(
        ApplyError, match=r"NOT guarded: the network 10.99.0.0/20 is not seen on this machine"
    ) as caught:
        there.apply(change, lambda line: None)
    assert "The earlier one serves again" in str(caught.value)
    said = kept["work1"].docker("exec", "guard", *guard.health("python3"))
    assert said == ""
    assert in_force(kept["work1"])


def test_the_guard_has_no_more_power_than_it_needs(kept: Fleet) -> None:
    form = "{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Privileged}}"
    said = kept["work1"].docker("inspect", "--format", form, "guard")
    assert said == "[NET_ADMIN SYS_ADMIN] [ALL] true false"
    assert "docker.sock" not in kept["work1"].docker("inspect", "guard")
