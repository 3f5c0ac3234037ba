"""What is hidden on a server with a hub, and what a user's code in a container cannot reach.

Each wall is also taken away by hand, to see that there is a way then: a probe that cannot get anywhere proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from deployed import CANARIES, DistantCommandLines, Server
from harness import Kernel, Person

import needs
from hubfleet.resources.firewall import Firewall
from waiting import soon

pytestmark = needs.machines(1500)

METADATA = "169.254.169.254"
PORT = 8765
PROBE = """
import socket
def reached(*target):
    family = socket.AF_UNIX if target[0].startswith("/") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(3)
        try:
            probe.connect(target[0] if family == socket.AF_UNIX else target)
        except OSError as error:
            return f"blocked: {type(error).__name__}"
        return "OPEN"
"""


# -- secrets -----------------------------------------------------------------------------------------------------------


def found(text: str, secrets: dict[str, str]) -> list[str]:
    return [name for name, secret in secrets.items() if secret in text]


def files_with(server: Server, secrets: dict[str, str], *places: str) -> set[str]:
    """The files there that hold one of these; the words go by standard input, not by the command line."""
    words = "\n".join(secrets.values()) + "\n"
    grep = f"grep -rlsaF --exclude-dir=merged -f - {' '.join(places)} || test $? -le 2"
    return set(server.machine.run(grep, text=words).splitlines())


def test_no_secret_is_where_others_look(server: Server) -> None:
    person = server.person(server.new_name("sara"))
    assert person.start()[-1]["ready"]
    token = person.kernel().run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    secrets = {name: server.password(name) for name in CANARIES}
    secrets |= {f"tokens.{name}": value for name, value in server.tokens().items()}
    secrets |= {"a server's": token, "her API token": person.token}
    assert all(len(secret) >= 30 for secret in secrets.values())

    # A change of all that holds secrets, watched on the machine.
    old = secrets["class_password"]
    server.plant()
    secrets |= {f"new {name}": server.password(name) for name in CANARIES}
    assert old not in secrets["new class_password"]
    plan = server.run("plan", "--full").stdout + server.run("plan", "--json").stdout
    assert "hub-secrets.json" in plan
    with DistantCommandLines(server.machine) as watch:
        told = server.up()
    assert any("hubfleet.agent" in line or "memfd" in line for line in watch.seen)

    machine = server.machine
    containers, images = machine.docker("ps", "-aq").split(), machine.docker("images", "-aq").split()
    assert len(containers) >= 5
    looks = {
        "ps": "\n".join([*watch.seen, *server.seen]),
        "plan": plan,
        "what up says": told + server.told,
        "docker inspect": machine.docker("inspect", *containers, *images),
        "docker history": "\n".join(machine.docker("history", "--no-trunc", image) for image in images),
        "docker logs": machine.run(*("sh", "-c", 'for one; do docker logs "$one" 2>&1; done', "sh", *containers)),
        "generations": machine.run(f"cat --show-nonprinting {server.state}/generations/*/*"),
        "the system's log": machine.run("journalctl --no-pager --quiet"),
    }
    assert {name: secrets_there for name, look in looks.items() if (secrets_there := found(look, secrets))} == {}

    # On the disk they are where their owners read them, and in the database as far as it has to know them.
    state = str(server.state)
    kept = {f"{state}/secrets/tokens.json", f"{state}/hub/hub-secrets.json", f"{state}/proxy/token"}
    there = files_with(server, secrets, "/var/lib/docker", "/var/lib/hubfleet", "/var/log", "/etc", "/root")
    assert {path for path in there if not path.startswith(f"{state}/hub/jupyterhub.sqlite")} == kept
    for path in kept:
        assert machine.run("stat", "--format", "%a", path) == "600"
    # and the same look finds what is no secret
    assert files_with(server, {"": server.name}, "/var/lib/docker/containers")
    person.stop()


# -- what a user's code can reach --------------------------------------------------------------------------------------


@pytest.fixture
def pair(server: Server) -> Iterator[tuple[Person, Person]]:
    people = server.person(server.new_name("ida")), server.person(server.new_name("otto"))
    for person in people:
        assert person.start()[-1]["ready"]
    yield people
    for person in people:
        person.stop()


@pytest.fixture
def metadata(server: Server) -> Iterator[None]:
    """Something that answers at the address where clouds tell machines their secrets (at a port that is free)."""
    machine = server.machine
    machine.run(f"ip address add {METADATA}/32 dev lo")
    try:
        machine.run(f"systemd-run --quiet --unit metadata python3 -m http.server --bind {METADATA} {PORT}")
        ask = f"curl -s -o /dev/null -w '%{{http_code}}' http://{METADATA}:{PORT}/"
        soon(lambda: machine.run(ask, check=False) == "200")
        yield
    finally:
        machine.run(f"systemctl stop metadata; ip address del {METADATA}/32 dev lo")


def reached(kernel: Kernel, *targets: tuple[str, int]) -> list[str]:
    kernel.run(PROBE)
    return [kernel.run(f"print(reached{target!r})").split(":")[0].strip() for target in targets]


@contextmanager
def without_firewall(server: Server) -> Iterator[None]:
    server.machine.run(f"nft delete table inet {Firewall(server.name, interface='').table}")
    try:
        yield
    finally:
        assert [change["action"] for change in server.changes()] == ["update"]
        server.up()


@pytest.mark.usefixtures("metadata")
def test_no_way_to_the_machine_its_cloud_and_others(server: Server, pair: tuple[Person, Person]) -> None:
    ida, otto = pair
    listening = f"import socket; door = socket.create_server(('0.0.0.0', {PORT})); print(door.getsockname()[1])"
    other = otto.kernel()
    assert other.run(listening) == f"{PORT}\n"
    networks = server.inspect(server.users_container(otto.name))[0]["NetworkSettings"]["Networks"]
    (network,) = networks.values()
    machine, kernel = server.machine, ida.kernel()
    targets = ((machine.address, 22), (network["Gateway"], 22), (METADATA, PORT), (network["IPAddress"], PORT))
    assert reached(kernel, *targets) == ["blocked"] * 4
    assert reached(other, ("127.0.0.1", PORT)) == ["OPEN"], "somebody listens there"
    with without_firewall(server):
        # From one server to another the engine's own rule is in the way still.
        assert reached(kernel, *targets) == ["OPEN", "OPEN", "OPEN", "blocked"]
        bridge = machine.docker("network", "inspect", next(iter(networks)), "--format", "{{json .Options}}")
        name = bridge.partition('bridge.name":"')[2].partition('"')[0]
        rule = f"FORWARD -i {name} -o {name} -j DROP"
        machine.run(f"iptables -D {rule}")
        try:
            assert reached(kernel, targets[3]) == ["OPEN"]
        finally:
            machine.run(f"iptables -A {rule}")
    assert reached(kernel, *targets) == ["blocked"] * 4


def test_no_socket_of_the_hubs_services_is_in_reach(server: Server, pair: tuple[Person, Person]) -> None:
    ida, otto = pair
    run = server.state / "run"
    other = server.users_socket(otto.name)
    sockets = [run / "launcher/launcher.sock", run / "proxy/api.sock", run / "entrance/proxy.sock", other]
    paths = ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", *map(str, sockets)]
    for path in paths:
        assert server.machine.run(f"test -S {path} && echo there") == "there"
    assert reached(ida.kernel(), *((path, 0) for path in paths)) == ["blocked"] * len(paths)
    # The same words where nothing is in the way: a container of the same image that root gives everything.
    image = server.inspect(server.users_container(ida.name))[0]["Config"]["Image"]
    shown = [word for path in ("/run", str(run)) for word in ("--volume", f"{path}:{path}")]
    lines = PROBE + "".join(f"print(reached({path!r}, 0))\n" for path in paths)
    words = ["run", "--rm", "--interactive", "--network", "none", "--user", "root", *shown, "--entrypoint", "python3"]
    said = server.machine.docker(*words, image, "-", text=lines)
    assert said.split() == ["OPEN"] * len(paths)


def test_no_privilege_and_no_home_but_ones_own(server: Server, pair: tuple[Person, Person]) -> None:
    ida, otto = pair
    server.machine.run(f"echo words > {server.homes}/{otto.name}/secret; chmod 666 {server.homes}/{otto.name}/secret")
    kernel = ida.kernel()
    status = kernel.run("print(open('/proc/self/status').read())")
    told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {told[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (told["NoNewPrivs"].strip(), told["Seccomp"].strip()) == ("1", "2")
    assert "0" not in told["Uid"].split()
    assert kernel.run("import os; print(os.listdir('/home'))") == f"['{ida.name}']\n"
    assert "FileNotFoundError" in kernel.run(f"os.stat('/home/{otto.name}')")
    for path in (server.homes, server.state / "hub", server.state / "secrets"):
        assert "FileNotFoundError" in kernel.run(f"os.stat('{path}')")
    # What a plain container of the same image has instead:
    image = server.inspect(server.users_container(ida.name))[0]["Config"]["Image"]
    plain = server.machine.docker("run", "--rm", "--network", "none", "--entrypoint", "cat", image, "/proc/self/status")
    assert "CapEff:\t0000000000000000" not in plain
    assert "NoNewPrivs:\t0" in plain
