"""What containers reach: the internet, and nothing private. Each refusal falls with its rule and comes back with it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import dockerd
import elsewhere
import pytest
from converging import converge, look, own, remove
from elsewhere import INTERNET, NEAR, PORT, PRIVATE, RESOLVER, Elsewhere, run

import needs
from hubfleet.agent import atboot, dockerengine
from hubfleet.agent import firewall as firewall_agent
from hubfleet.resources import Firewall

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    needs.command("nft", package="nftables"),
    needs.command("ip", package="iproute2"),
]


class Site:
    """A container behind a firewall and all it might try to reach, by address and port."""

    def __init__(self, engine: dockerd.Dockerd, stack: ExitStack, folder: Path) -> None:
        self.engine = engine
        self.elsewhere = Elsewhere()
        stack.callback(self.elsewhere.end)
        self.name = own("wall")
        self.bridge = f"hf{uuid.uuid4().hex[:8]}"
        # containers that reach each other, so that what keeps them apart is these rules
        bridge = f"com.docker.network.bridge.name={self.bridge}"
        engine.docker("network", "create", "--opt", bridge, self.name)
        stack.callback(engine.docker, "network", "rm", self.name, check=False)
        for name in (self.name, f"{self.name}-other"):
            command = ["python3", "-c", elsewhere.SERVER, "0.0.0.0", str(PORT), "127.0.0.1"]
            where = ["--network", self.name, "--dns", RESOLVER, "--init"]
            engine.docker("run", "--detach", "--name", name, *where, dockerd.BASE, *command)
            stack.callback(engine.docker, "rm", "--force", name, check=False)
        found = engine.inspect(f"{self.name}-other")["NetworkSettings"]["Networks"][self.name]
        self.other, self.gateway = str(found["IPAddress"]), str(found["Gateway"])
        self.mine = str(engine.inspect(self.name)["NetworkSettings"]["Networks"][self.name]["IPAddress"])
        self.host_port = self.listener(stack)
        self.targets = {
            INTERNET: PORT,
            **dict.fromkeys(PRIVATE, PORT),
            self.other: PORT,
            self.gateway: self.host_port,
            NEAR: self.host_port,
        }
        (folder / "resolv.conf").write_text(f"nameserver 127.0.0.53\nnameserver {RESOLVER}\n")

    def listener(self, stack: ExitStack) -> int:
        """A server of the machine itself, on all its addresses."""
        with socket.socket() as free:
            free.bind(("0.0.0.0", 0))
            port = int(free.getsockname()[1])
        server = elsewhere.server("0.0.0.0", port)
        stack.callback(server.communicate)
        stack.callback(server.kill)
        return port

    def reached(self) -> set[str]:
        """The addresses that the container reaches."""
        asked = elsewhere.probe_argument(self.targets)
        return set(json.loads(self.inside("python3", "-c", elsewhere.PROBE, asked)))

    def inside(self, *command: str) -> str:
        return self.engine.docker("exec", self.name, *command, check=False)


@pytest.fixture(scope="module")
def site(engine: dockerd.Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("etc")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patched:
        patched.setattr(firewall_agent, "RULES", folder / "hubfleet" / "firewall")
        patched.setattr(atboot, "UNITS", folder)
        patched.setattr(firewall_agent, "RESOLVERS", (folder / "resolv.conf",))
        yield Site(engine, stack, folder)


@pytest.fixture
def wall(site: Site) -> Iterator[Firewall]:
    """Rules in force for the site's bridge."""
    made = Firewall(site.name, site.bridge)
    converge(made)
    yield made
    if look(made):
        remove(made)


def test_without_rules_everything_is_reached(site: Site) -> None:
    """Or the other tests would prove nothing."""
    assert site.reached() == set(site.targets)


def test_only_the_internet_is_reached_and_each_refusal_is_its_rules(site: Site, wall: Firewall) -> None:
    assert site.reached() == {INTERNET}
    opened = {INTERNET}
    for address, part in PRIVATE.items():
        run("nft", "delete", "element", "inet", wall.table, "private4", f"{{ {part} }}")
        opened.add(address)
        assert site.reached() == opened, address
    run("nft", "flush", "chain", "inet", wall.table, "entering")
    opened.add(site.other)
    assert site.reached() == opened
    run("nft", "flush", "chain", "inet", wall.table, "host")
    assert site.reached() == set(site.targets)
    change = converge(wall)
    assert change
    assert change.detail == ("the rules are not in force: they are loaded",)
    assert site.reached() == {INTERNET}


def test_what_is_allowed_is_reached_and_nothing_beside_it(site: Site, wall: Firewall) -> None:
    wider = replace(wall, allow=("192.168.99.5", "10.99.99.0/24", "10.99.99.5/32", "fd00::5"))
    change = converge(wider)
    assert change
    assert change.detail == ("the rules in force are other ones: they are loaded",)
    assert site.reached() == {INTERNET, "192.168.99.5", "10.99.99.5"}


def test_names_are_still_answered_through_a_private_resolver(
    site: Site, wall: Firewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Docker's embedded DNS, which asks the machine's resolver from within the container."""
    ask = ["python3", "-c", "import socket, uuid; print(socket.gethostbyname(f'{uuid.uuid4().hex}.example.org'))"]
    assert site.inside("cat", "/etc/resolv.conf").splitlines()[0] == "nameserver 127.0.0.11"
    assert site.inside(*ask) == "203.0.113.7"
    monkeypatch.setattr(firewall_agent, "RESOLVERS", ())
    assert converge(wall)
    assert "203.0.113.7" not in site.inside(*ask)


def test_nothing_new_comes_in_from_elsewhere(site: Site, wall: Firewall) -> None:
    """Docker itself refuses that too; its part is opened here."""
    rule = ["FORWARD", "--out-interface", site.bridge, "--jump", "ACCEPT"]
    run("iptables", "--insert", *rule)
    try:
        ask = elsewhere.probe_argument({site.mine: PORT})
        probe = [sys.executable, "-c", elsewhere.PROBE, ask]
        assert json.loads(site.elsewhere.inside(*probe)) == []
        run("nft", "flush", "chain", "inet", wall.table, "entering")
        run("nft", "delete", "element", "inet", wall.table, "private4", "{ 198.18.0.0/15 }")  # any other part
        assert json.loads(site.elsewhere.inside(*probe)) == [site.mine]
    finally:
        run("iptables", "--delete", *rule)


CARRY_ON = """
import socket, sys
link = socket.create_connection(("10.99.99.5", int(sys.argv[1])), timeout=2)
assert link.recv(5) == b"hello"
print("open", flush=True)
sys.stdin.readline()
link.sendall(b"x")
try:
    print(link.recv(5).decode(), flush=True)
except OSError as error:
    print(type(error).__name__, flush=True)
"""


@pytest.mark.parametrize(("back", "said"), [(True, "TimeoutError\n"), (False, "again\n")])
def test_a_connection_made_while_the_rules_were_away_ends_with_their_return(
    site: Site, wall: Firewall, back: bool, said: str
) -> None:
    remove(wall)
    command = ["docker", "--host", f"unix://{site.engine.socket}", "exec", "-i", site.name]
    program = ["python3", "-c", CARRY_ON, str(PORT)]
    link = subprocess.Popen([*command, *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert link.stdout
    assert link.stdout.readline() == "open\n"
    if back:
        converge(wall)
    assert link.communicate("\n")[0] == said


@pytest.mark.parametrize("how", ["flush table", "delete table"])
def test_rules_that_somebody_flushed_are_loaded_again(site: Site, wall: Firewall, how: str) -> None:
    run("nft", *how.split(), "inet", wall.table)
    change = converge(wall)
    assert change
    assert change.detail == ("the rules are not in force: they are loaded",)
    assert site.reached() == {INTERNET}


def test_the_rules_are_roots_alone_and_all_of_it_is_removed(wall: Firewall) -> None:
    rules = firewall_agent.RULES / f"{wall.name}.nft"
    assert rules.stat().st_mode & 0o777 == 0o600
    assert (firewall_agent.RULES.stat().st_mode & 0o777) == 0o700
    remove(wall)
    assert not firewall_agent.RULES.exists()
    assert wall.table not in run("nft", "list", "tables")


@needs.command("systemd-analyze", package="systemd")
def test_the_unit_that_keeps_them_is_one_that_systemd_takes(
    wall: Firewall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = tmp_path / f"hubfleet-firewall-{wall.name}.service"
    unit.write_text(firewall_agent._unit_text(wall))
    assert subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True).stderr == ""
    monkeypatch.setattr(dockerengine, "SYSTEMD", tmp_path)
    change = wall.diff(look(wall))
    assert change
    assert change.detail == ("they are loaded whenever the machine starts",)


def test_what_a_killed_removal_left_is_removed(wall: Firewall) -> None:
    run("nft", "delete", "table", "inet", wall.table)
    remove(wall)
    converge(wall)
    (firewall_agent.RULES / f"{wall.name}.nft").unlink()
    (firewall_agent.RULES / f"{wall.name}.loaded").unlink()
    remove(wall)


def test_ipv6_is_no_way_round() -> None:
    """In namespaces of its own, with the rules alone: a guest, a router that has the rules, and what is behind it."""
    short = uuid.uuid4().hex[:6]
    guest, router, behind = (f"hf-{word}-{short}" for word in ("guest", "router", "behind"))
    wall = Firewall("six", "inner", allow=("fd00:77::6",))
    public, private, allowed = "2001:db8::5", "fd00:77::5", "fd00:77::6"

    def within(name: str, *command: str) -> str:
        return run("ip", "netns", "exec", name, *command)

    with ExitStack() as stack:
        for name in (guest, router, behind):
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "delete", name)
            within(name, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.default.accept_dad=0")
            within(name, "ip", "link", "set", "lo", "up")
        for near, far, net in (("inner", guest, "fd00:1"), ("outer", behind, "fd00:2")):
            run("ip", "link", "add", near, "netns", router, "type", "veth", "peer", "name", "eth0", "netns", far)
            for name, device, address in ((router, near, f"{net}::1/64"), (far, "eth0", f"{net}::2/64")):
                within(name, "ip", "addr", "add", address, "dev", device, "nodad")
                within(name, "ip", "link", "set", device, "up")
            within(far, "ip", "-6", "route", "add", "default", "via", f"{net}::1")
        within(router, "ip", "-6", "route", "add", "default", "via", "fd00:2::2")
        for address in (public, private, allowed):
            within(behind, "ip", "addr", "add", f"{address}/128", "dev", "lo", "nodad")
        for name in (router, behind):
            answering = elsewhere.server("::", PORT, within=name)
            stack.callback(answering.communicate)
            stack.callback(answering.kill)
        asked = elsewhere.probe_argument(dict.fromkeys((public, private, allowed, "fd00:1::1"), PORT))
        probe = [sys.executable, "-c", elsewhere.PROBE, asked]
        assert set(json.loads(within(guest, *probe))) == {public, private, allowed, "fd00:1::1"}
        command = ["ip", "netns", "exec", router, "nft", "-f", "-"]
        subprocess.run(command, input=wall.rules([]), text=True, check=True)
        for name in (guest, router):
            within(name, "ip", "-6", "neighbour", "flush", "all")
        assert set(json.loads(within(guest, *probe))) == {public, allowed}
        within(router, "nft", "delete", "element", "inet", wall.table, "private6", "{ fc00::/7 }")
        assert set(json.loads(within(guest, *probe))) == {public, private, allowed}
