"""What is hidden on a server with a hub, and what a user's code in a container cannot reach.

Each wall is also taken away by hand, to see that there is a way then: a probe that cannot get anywhere proves nothing.
"""

from __future__ import annotations

import secrets as secrets_of
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deployed import CANARIES, PARTS, DistantCommandLines, Running, Server
from dockerd import BASE
from harness import CommandLines, Kernel, Person, await_that

import hubfleet
import needs
from hubfleet.resources.firewall import Firewall
from pairs import NAME, make_pair
from services import Tas, running
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


EVERYTHING = """\
hub: {name}
engine: docker
machines: {{{machine}: {{ssh: root@{address}, ssh_config: ssh_config}}}}
base_image: {base}
domain: {domain}
https: {{certificate: hub.pem, key: hub.key}}
login: {{password: file}}
servers: {{environment: {{LICENSE: {license}}}}}
storage:
  owner: {{command: owner-of.py}}
  projects: {{path: /srv/projects, service: "https://{service}/{{username}}"}}
"""
"""All that takes secrets."""
BREAKS = "raise SystemExit('no such setting: colour')\n"


def planted(server: Server, person: Person, kernel: Kernel) -> dict[str, str]:
    """Secrets that there are while a hub runs, by what they are."""
    state, machine = server.state, server.machine
    secrets = {name: server.password(name) for name in CANARIES}
    secrets |= {f"tokens.{name}": value for name, value in server.tokens().items()}
    secrets["a server's token"] = kernel.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    connection = "import json, ipykernel; print(json.load(open(ipykernel.get_connection_file()))['key'])"
    secrets["a kernel's key"] = kernel.run(connection).strip()
    secrets |= {"her API token": person.token, "her password": person.password, "an admin's": server.admin().token}
    assert person.session.get(f"{server.url}/user/{person.name}/lab", timeout=60).status_code == 200
    for cookie in person.session.cookies:
        if cookie.name in ("jupyterhub-hub-login", f"jupyterhub-user-{person.name}"):
            secrets[f"her cookie {cookie.name}"] = str(cookie.value)
    secrets["the cookies' secret"] = machine.run("cat", f"{state}/hub/cookie_secret")
    for path in machine.run(f"find {state}/edge/storage -name '*.key'").splitlines():
        secrets[f"edge: {path.rpartition('/')[2]}"] = _middle(machine.run("cat", path))
    return secrets


def _middle(pem: str) -> str:
    """The longest line of a key: its first words are the same in all of a kind."""
    return max(pem.splitlines()[1:-1], key=len)[20:]


def give_everything(server: Server) -> dict[str, str]:
    """Write a configuration that takes all secrets there can be, and new ones; these, by what they are."""
    pair = make_pair(NAME)
    _, key = pair.write(server.folder)
    server.plant()
    told = {name: f"canary-{secrets_of.token_hex(12)}" for name in ("owner_password", "projects_token")}
    with (server.folder / "hubfleet.secrets.yaml").open("a") as file:
        file.write("".join(f"{name}: {word}\n" for name, word in told.items()))
    (server.folder / "owner-of.py").write_text("#!/usr/bin/env python3\nprint(71000)\n")
    server.machine.run("mkdir -p /srv/projects")
    told |= {f"new {name}": server.password(name) for name in CANARIES}
    return {**told, "the certificate's key": _middle(key.read_text())}


def write_everything(server: Server, word: str, service: str) -> None:
    given = {"name": server.name, "machine": server.machine.name, "address": server.machine.address, "base": BASE}
    text = EVERYTHING.format(**given, domain=NAME, license=word, service=service)
    (server.folder / "hubfleet.yaml").write_text(text)


@pytest.fixture
def service(server: Server) -> Iterator[str]:
    """Where something answers that the server can reach."""
    there = Tas()
    there.host = f"{server.machine.address.rpartition('.')[0]}.1"
    with running(there):
        yield there.url.split("/")[2]


@pytest.fixture
def as_it_was(server: Server) -> Iterator[None]:
    """Afterwards the hub has its own settings again."""
    kept = (server.folder / "hubfleet.secrets.yaml").read_text()
    yield
    (server.folder / "hubfleet.secrets.yaml").write_text(kept)
    server.write("")
    server.up()
    server.machine.run("rmdir /srv/projects")


def said_by(server: Server, *words: str) -> str:
    """All that a command says, however it ends."""
    done = server.run(*words, check=False, timeout=600)
    return done.stdout + done.stderr


@pytest.mark.usefixtures("as_it_was")
def test_no_secret_is_where_others_look(
    server: Server, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name, password = server.new_name("sara"), f"canary-{secrets_of.token_hex(12)}"
    person = Person(server, name, password)
    assert person.sign_up(server.password("class_password")).status_code == 200
    assert person.log_in().status_code == 302
    assert person.start()[-1]["ready"]
    kernel = person.kernel()
    secrets = planted(server, person, kernel)
    secrets |= give_everything(server)
    word = f"canary-{secrets_of.token_hex(12)}"
    assert len(secrets) >= 20, sorted(secrets)
    assert all(len(secret) >= 20 for secret in secrets.values()), secrets.keys()
    assert len({*secrets.values()}) == len(secrets)
    write_everything(server, word, service)
    looks = {"plan": said_by(server, "plan", "--full") + said_by(server, "plan", "--json")}
    assert "hub-secrets.json" in looks["plan"]
    assert "launcher-secrets.json" in looks["plan"]

    # A change of all that holds secrets, watched on both machines: one that fails, one that is killed, and one that is
    # carried out.
    shutil.copytree(Path(hubfleet.__file__).parent, tmp_path / "hubfleet")
    with (tmp_path / "hubfleet" / "hub" / "jupyterhub_config.py").open("a") as code:
        code.write(BREAKS)
    with DistantCommandLines(server.machine) as watch, CommandLines() as here:
        with monkeypatch.context() as another:
            another.setenv("PYTHONPATH", str(tmp_path))
            looks["a failing up"] = said_by(server, "up", "--yes")
        assert "no such setting: colour" in looks["a failing up"]
        killed = Running(server, "up", "--yes")
        killed.await_text("a test user logs in there")
        killed.kill()
        looks["a killed up"] = killed.text
        await_that("the lock is free", lambda: _free(server), 120)
        looks["up"] = server.run("up", "--yes", timeout=600).stdout
    assert any("hubfleet.agent" in line or "memfd" in line for line in watch.seen)
    assert any("hubfleet" in line for line in here.seen)
    for words in (
        *(("status",), ("status", "--json"), ("check",), ("check", "--json"), ("rollback", "--list")),
        *(("explain", name), ("users",), *(("logs", one, "-n", "5000") for one in (*PARTS, name))),
    ):
        looks[" ".join(words)] = said_by(server, *words)
        assert looks[" ".join(words)], words

    machine, state = server.machine, str(server.state)
    containers, images = machine.docker("ps", "-aq").split(), machine.docker("images", "-aq").split()
    assert len(containers) >= 5
    looks |= {
        "ps": "\n".join([*watch.seen, *server.seen, *here.seen]),
        "what the first up said": server.told,
        "docker inspect": machine.docker("inspect", *containers, *images),
        "docker history": "\n".join(machine.docker("history", "--no-trunc", image) for image in images),
        "docker logs": machine.run(*("sh", "-c", 'for one; do docker logs "$one" 2>&1; done', "sh", *containers)),
        "generations": machine.run(f"cat --show-nonprinting {state}/generations/*/*"),
        "the system's log": machine.run("journalctl --no-pager --quiet"),
        "the cache here": "".join(path.read_text(errors="replace") for path in _files(tmp_path / "cache")),
    }
    assert {look: seen for look, text in looks.items() if (seen := found(text, secrets))} == {}
    assert [look for look in ("ps", "docker inspect", "docker history") if word in looks[look]] == []
    assert word in looks["plan"], "a setting is no secret, and the same look finds it"

    # On the disk they are where their owners read them, and in the database as far as it has to know them.
    theirs = {f"{state}/{path}" for path in ("secrets/tokens.json", "hub/hub-secrets.json", "hub/cookie_secret")}
    theirs |= {f"{state}/{path}" for path in ("proxy/token", "launcher/launcher-secrets.json", "edge/key.pem")}
    there = files_with(server, secrets, "/var/lib/docker", "/var/lib/hubfleet", "/var/log", "/etc", "/root")
    edges = {path for path in there if path.startswith(f"{state}/edge/storage/") and path.endswith(".key")}
    homes = {path for path in there if path.startswith(f"{state}/homes/{name}/")}
    rest = there - edges - homes
    assert {path for path in rest if not path.startswith(f"{state}/hub/jupyterhub.sqlite")} == theirs
    for path in (*theirs, *edges, *homes):
        assert machine.run("stat", "--format", "%a", path) == "600"
    # and the same look finds what is no secret
    assert files_with(server, {"": server.name}, "/var/lib/docker/containers")


def _free(server: Server) -> bool:
    return server.machine.run(f"flock --nonblock {server.state}/lock true || echo taken") == ""


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


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
