"""Started by root: what one user's code can reach of another's, of the hub and of the machine. Nothing, that is.

Each case names its controls. Where there are several, each of them alone must hold; without all of them the probe must
get through, or it would prove nothing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confined import (
    Inside,
    Removal,
    all_processes,
    as_root,
    as_uid,
    run_sandbox,
    shared_scratch,
    unhidden,
    writable_environment,
)
from harness import CommandLines, RunningHub, await_that

import needs
from hubfleet.unixhttp import Refused, request

pytestmark = [needs.root(), needs.linux()]

MARK = f"mark-{secrets.token_hex(8)}"


@dataclass
class World:
    """Two people with running servers, a and b, and what is b's and the hub's."""

    hub: RunningHub
    a: Inside
    b: Inside
    base: Path

    @property
    def unhidden(self) -> Removal:
        return unhidden(self.base, self.hub.state / "homes")

    @property
    def as_b(self) -> Removal:
        return as_uid(self.b.uid)


@pytest.fixture(scope="module")
def world(strict_hub: RunningHub, base: Path) -> Iterator[World]:
    world = World(strict_hub, Inside.of(strict_hub, "isa"), Inside.of(strict_hub, "isb"), base)
    secret = world.b.home / "secret.txt"
    secret.write_text(MARK)
    secret.chmod(0o644)
    other = base / "another-hub"
    (other / "hub").mkdir(parents=True)
    (other / "hub" / "jupyterhub.sqlite").write_text(MARK)
    shell = world.a.home / "shell"
    shutil.copy("/bin/dash", shell)
    shell.chmod(0o4755)
    yield world
    shutil.rmtree(other)
    for inside in (world.a, world.b):
        inside.person.stop()


@pytest.fixture(autouse=True)
def _logs(strict_hub: RunningHub, hub_logs: list[Path]) -> None:
    hub_logs.append(strict_hub.logs)


@dataclass(frozen=True)
class Case:
    """``probe``: code for a's server. ``controls``: what removes each control that keeps it from getting through."""

    name: str
    probe: Callable[[World], str]
    controls: Callable[[World], list[Removal]]

    def __str__(self) -> str:
        return self.name


def hub_files(world: World) -> list[str]:
    """Every file of the hub but its environments (meant to be read) and people's homes."""
    state, found = world.hub.state, []
    for folder, folders, files in os.walk(state):
        if Path(folder) == state:
            folders[:] = [name for name in folders if name not in ("environments", "homes")]
        found += [os.path.join(folder, name) for name in files]
    names = {Path(path).name for path in found}
    wanted = {"jupyterhub.sqlite", "hub.json", "hub-secrets.json", "launcher.json", "tokens.json", "cookie_secret"}
    assert wanted <= names
    return [path for path in found if stat.S_ISREG(os.stat(path).st_mode) and Path(path).name != "overrides.json"]


SWEEP = """
readable = []
for path in {paths!r}:
    try:
        open(path).close()
        readable.append(path)
    except OSError:
        pass
print("OPEN", readable) if readable else print("blocked")
"""

CASES = [
    Case(
        "list another's home",
        lambda w: f"attempt(lambda: os.listdir({str(w.b.home)!r}))",
        lambda w: [w.as_b, w.unhidden],
    ),
    Case(
        "read a readable file in another's home",
        lambda w: f"attempt(lambda: open({str(w.b.home / 'secret.txt')!r}).read())",
        lambda w: [w.as_b, w.unhidden],
    ),
    Case(
        "the same with a user namespace",
        lambda w: f"attempt(lambda: run('unshare', '-Urm', 'cat', {str(w.b.home / 'secret.txt')!r}))",
        lambda w: [w.as_b, w.unhidden],
    ),
    Case(
        "signal another's server",
        lambda w: f"attempt(lambda: os.kill({w.b.pid}, 0))",
        lambda w: [w.as_b],
    ),
    Case(
        "signal it from a user namespace",
        lambda w: f"attempt(lambda: run('unshare', '-Ur', 'kill', '-0', '{w.b.pid}'))",
        lambda w: [w.as_b],
    ),
    Case(
        "trace another's server",
        lambda w: f"attempt(lambda: must(libc.ptrace(0x4206, {w.b.pid}, 0, 0)))",  # PTRACE_SEIZE: does not stop it
        lambda w: [w.as_b],
    ),
    Case(
        "see another's command line",
        lambda w: f"attempt(lambda: open('/proc/{w.b.pid}/cmdline').read())",
        lambda w: [all_processes],
    ),
    Case(
        "see another's environment",
        lambda w: f"attempt(lambda: open('/proc/{w.b.pid}/environ').read())",
        lambda w: [w.as_b],
    ),
    Case(
        "look through another's process into its /tmp",
        lambda w: f"attempt(lambda: os.listdir('/proc/{w.b.pid}/root/tmp'))",
        lambda w: [w.as_b],
    ),
    Case(
        "connect to another's server",
        lambda w: f"attempt(lambda: connect({str(w.b.socket)!r}))",
        lambda w: [w.as_b, w.unhidden],
    ),
    Case(
        "connect to the launcher",
        lambda w: f"attempt(lambda: ask({str(w.hub.state / 'run/launcher/launcher.sock')!r}, 'GET', '/v1/servers'))",
        lambda w: [as_root, w.unhidden],
    ),
    Case(
        "connect to the proxy's API",
        lambda w: f"attempt(lambda: connect({str(w.hub.state / 'run/proxy/api.sock')!r}))",
        lambda w: [as_root, w.unhidden],
    ),
    Case(
        "read a file of the hub, the launcher, the proxy or the plan",
        lambda w: SWEEP.format(paths=hub_files(w)),
        lambda w: [as_root, w.unhidden],
    ),
    Case(
        "read the operator's secrets file",
        lambda w: f"attempt(lambda: open({str(w.hub.folder / 'hubfleet.secrets.yaml')!r}).read())",
        lambda w: [as_root, shared_scratch],
    ),
    Case(
        "read another hub's state",
        lambda w: f"attempt(lambda: open({str(w.base / 'another-hub/hub/jupyterhub.sqlite')!r}).read())",
        lambda w: [w.unhidden],
    ),
    Case(
        "write to the environment it runs from",
        lambda w: f"attempt(lambda: open({str(w.a.environment / 'bin/probe')!r}, 'w').close())",
        lambda w: [as_root, writable_environment],
    ),
    Case(
        "mount",
        lambda w: "attempt(lambda: must(libc.mount(b'none', b'/var/tmp', b'tmpfs', 0, b'')))",
        lambda w: [as_root],
    ),
    Case(
        "leave its control group",
        lambda w: "attempt(lambda: open('/sys/fs/cgroup/memory/cgroup.procs', 'w').write(str(os.getpid())))",
        lambda w: [as_root],
    ),
    Case(
        "raise its own limit",
        lambda w: (
            f"attempt(lambda: open('/sys/fs/cgroup/memory/hubfleet/{w.hub.name}/{w.a.name}/"
            "memory.limit_in_bytes', 'w').write('-1'))"
        ),
        lambda w: [as_root],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_user_cannot(case: Case, world: World) -> None:
    probe, controls = case.probe(world), case.controls(world)
    try:
        assert world.a.in_kernel(probe).startswith("blocked")
        for kept in controls:
            others = [control for control in controls if control is not kept]
            seen = world.a.in_sandbox(probe, *others)
            assert seen.startswith("blocked"), f"one control alone does not hold: {seen}"
        seen = world.a.in_sandbox(probe, *controls)
        assert seen.startswith("OPEN"), f"with no control left this proves nothing: {seen}"
    finally:
        (world.a.environment / "bin" / "probe").unlink(missing_ok=True)


@pytest.mark.parametrize("place", ["/tmp", "/var/tmp", "/dev/shm", "/run/lock"])
def test_files_in_shared_places_are_private(place: str, world: World) -> None:
    path = Path(place) / MARK
    leave = f"attempt(lambda: open({str(path)!r}, 'w').write('x'))"
    look = f"attempt(lambda: open({str(path)!r}).read())"
    try:
        assert world.b.in_kernel(leave).startswith("OPEN")
        assert world.a.in_kernel(look).startswith("blocked")
        assert not path.exists()
        assert world.b.in_sandbox(leave, shared_scratch).startswith("OPEN")
        assert world.a.in_sandbox(look, shared_scratch).startswith("OPEN")
    finally:
        path.unlink(missing_ok=True)


def test_a_user_writes_only_to_places_of_its_own(world: World) -> None:
    """Directories of the whole machine, wherever they are mounted: a new one in reach shows up here."""
    found = world.a.in_kernel(
        """
wanted = subprocess.run("find / ( -path /proc -o -path /sys ) -prune -o -type d -writable -print -prune".split(),
                        capture_output=True, text=True)
print(wanted.stdout)
"""
    )
    own = {
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        "/run/lock",
        f"/run/user/{world.a.uid}",
        f"/home/{world.a.name}",
        "/srv/work",
    }
    own.add(str(world.a.socket.parent))
    # Hubs of tests that run beside this one hand out directories too.
    others = [place for place in found.split() if place.startswith(("/var/lib/hubfleet-test-", "/tmp/hft-"))]
    others = [place for place in others if not place.startswith((str(world.a.hub.state), str(world.a.hub.mounts)))]
    expected = {place for place in own if Path(place).exists() or place not in ("/run/lock",)}
    assert set(found.split()) - set(others) == expected


def test_no_way_to_become_root(world: World) -> None:
    """A setuid shell in the home: outside of the sandbox it works, inside it does not, for two reasons."""
    ids = ["--reuid", str(world.a.uid), "--regid", str(world.a.uid), "--clear-groups"]
    shell = str(world.a.home / "shell")
    outside = subprocess.run(["setpriv", *ids, shell, "-p", "-c", "id -u"], capture_output=True, text=True, cwd="/")
    assert outside.returncode != 0 or outside.stdout.strip() == "0"
    seen = world.a.in_kernel(
        f"""
print(run("/home/{world.a.name}/shell", "-p", "-c", "id -u").strip())
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["NoNewPrivs"].strip(), int(status["CapEff"], 16), int(status["CapPrm"], 16))
mounts = [line.split() for line in open("/proc/mounts")]
print("nosuid" in [options for _, place, _, options, *_ in mounts if place == "/home/{world.a.name}"][-1].split(","))
attempt(lambda: run("su", "-c", "id -u"))
attempt(lambda: run("unshare", "-Urm", "umount", "/home"))
"""
    ).splitlines()
    assert seen[:3] == [str(world.a.uid), "1 0 0", "True"]
    assert all(line.startswith("blocked") for line in seen[3:])


def test_system_v_memory_is_private(world: World) -> None:
    key = secrets.randbits(31)
    made = world.b.in_kernel(f"attempt(lambda: must(libc.shmget({key}, 4096, 0o1666)))")
    assert made.startswith("OPEN")
    assert world.b.in_kernel(f"attempt(lambda: must(libc.shmget({key}, 0, 0)))").startswith("OPEN")
    assert world.a.in_kernel(f"attempt(lambda: must(libc.shmget({key}, 0, 0)))").startswith("blocked")


def test_kernels_do_not_listen_to_the_machine(world: World) -> None:
    """A kernel's five channels are sockets in a private directory; over TCP everybody could reach their ports."""
    connection = world.b.in_kernel("from ipykernel import get_connection_info; print(get_connection_info())")
    assert json.loads(connection)["transport"] == "ipc"
    place = json.loads(connection)["ip"]
    assert place.startswith(f"/run/user/{world.b.uid}/")
    assert world.a.in_kernel(f"attempt(lambda: connect({place + '-1'!r}))").startswith("blocked")


def test_the_launcher_answers_only_the_hub(world: World) -> None:
    """Its second control: even where its socket is open to everybody, the kernel tells it who asks."""
    sock = world.hub.state / "run" / "launcher" / "launcher.sock"
    probe = f"attempt(lambda: ask({str(sock)!r}, 'GET', '/v1/servers'))"
    before = {path: stat.S_IMODE(path.stat().st_mode) for path in (sock, sock.parent)}
    try:
        sock.chmod(0o666)
        sock.parent.chmod(0o755)
        assert world.a.in_sandbox(probe, world.unhidden).startswith("OPEN (403")
        assert world.a.in_sandbox(probe, world.unhidden, as_uid(account_uid(world.hub))).startswith("OPEN (200")
    finally:
        for path, mode in before.items():
            path.chmod(mode)


def test_the_proxy_asks_for_its_token(world: World) -> None:
    sock = world.hub.state / "run" / "proxy" / "api.sock"
    token = (world.hub.state / "secrets" / "proxy_token").read_text()
    with pytest.raises(Refused) as refused:
        request(sock, "GET", "/api/routes")
    assert refused.value.status == 403
    assert "/" in request(sock, "GET", "/api/routes", token=token)


# -- the hub itself ----------------------------------------------------------------------------------------------------


def account_uid(hub: RunningHub) -> int:
    return (hub.state / "hub").stat().st_uid


def in_hub_sandbox(world: World, code: str, *removals: Removal, name: str = "hub") -> str:
    """Run code where the hub's process runs, less the given controls."""
    spec = json.loads((world.hub.state / "supervisor" / f"{name}.sandbox.json").read_text())
    python = Path(json.loads((world.hub.state / "supervisor/hub.sandbox.json").read_text())["argv"][0])
    spec = {**spec, "secret_files": {}, "remove": []}
    for removal in removals:
        removal(spec)
    return run_sandbox(spec, code, python)


HUB_CASES = [
    Case(
        "see users' homes",
        lambda w: f"attempt(lambda: os.listdir({str(w.a.home)!r}))",
        lambda w: [as_root, w.unhidden],
    ),
    Case(
        "signal the launcher",
        lambda w: f"attempt(lambda: os.kill({w.hub.pid('launcher')}, 0))",
        lambda w: [as_root],
    ),
    Case(
        "signal a user's server",
        lambda w: f"attempt(lambda: os.kill({w.a.pid}, 0))",
        lambda w: [as_root],
    ),
    Case(
        "read root's files",
        # the hub's own are no secrets to it, and the routes that the proxy keeps are what it has told the proxy
        lambda w: SWEEP.format(
            paths=[
                p for p in hub_files(w) if not p.startswith((str(w.hub.state / "hub"), str(w.hub.state / "run/proxy")))
            ]
        ),
        lambda w: [as_root, w.unhidden],
    ),
    Case(
        "write to the environment it runs from",
        lambda w: f"attempt(lambda: open({str(w.a.environment / 'bin/probe')!r}, 'w').close())",
        lambda w: [as_root, writable_environment],
    ),
    Case(
        "see what is mounted for users",
        lambda w: f"attempt(lambda: open({str(w.hub.mounts / 'shared/notes.txt')!r}).read())",
        lambda w: [unhidden(w.hub.mounts / "shared")],
    ),
]


@pytest.mark.parametrize("case", HUB_CASES, ids=str)
def test_the_hub_cannot(case: Case, world: World) -> None:
    probe, controls = case.probe(world), case.controls(world)
    try:
        for kept in controls:
            others = [control for control in controls if control is not kept]
            seen = in_hub_sandbox(world, probe, *others)
            assert seen.startswith("blocked"), f"one control alone does not hold: {seen}"
        seen = in_hub_sandbox(world, probe, *controls)
        assert seen.startswith("OPEN"), f"with no control left this proves nothing: {seen}"
    finally:
        (world.a.environment / "bin" / "probe").unlink(missing_ok=True)


def test_the_proxy_cannot_read_the_hubs_database(world: World) -> None:
    probe = f"attempt(lambda: open({str(world.hub.state / 'hub/jupyterhub.sqlite')!r}).close())"
    for removals in ([], [world.unhidden], [as_root]):
        assert in_hub_sandbox(world, probe, *removals, name="proxy").startswith("blocked")
    assert in_hub_sandbox(world, probe, world.unhidden, as_root, name="proxy").startswith("OPEN")


@pytest.mark.parametrize("name", ["hub", "proxy"])
def test_hub_and_proxy_really_run_that_way(name: str, world: World) -> None:
    """The processes themselves, not a sandbox like theirs."""
    pid = world.hub.pid(name)
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert set(status["Uid"].split()) == {str(Path(f"/proc/{pid}").stat().st_uid)} != {"0"}
    assert (status["NoNewPrivs"].strip(), int(status["CapEff"], 16)) == ("1", 0)
    assert os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    assert not Path(f"/proc/{pid}/root{world.a.home}").exists()
    assert world.a.home.exists()


@pytest.mark.parametrize(
    ("target", "body", "reason"),
    [
        ("start", {"user": "isa", "cmd": ["/bin/sh"]}, "may not be asked for: cmd"),
        ("start", {"user": "isa", "image": "x"}, "may not be asked for: image"),
        ("start", {"user": "isa", "mounts": ["/:/host:rw"]}, "may not be asked for: mounts"),
        ("start", {"user": "isa", "uid": 0}, "may not be asked for: uid"),
        ("start", {"user": "isa", "environment": {"PATH": "/x"}}, "PATH"),
        ("start", {"user": "isa", "environment": {"LD_PRELOAD": "/x"}}, "LD_PRELOAD"),
        ("start", {"user": "isa", "environment": {"JUPYTERHUB_A": ["x"]}}, "unusable"),
        ("start", {"user": "isa", "profile": "large"}, "no profile"),
        ("start", {"user": "isa", "profile": "nonsense"}, "no profile"),
        ("start", {"user": "../isa"}, "invalid user name"),
        ("start", {"user": ""}, "must be a name"),
        ("start", {"user": {"name": "isa"}}, "must be a name"),
        ("start", ["isa"], "JSON object"),
        ("stop", {"user": "isa", "signal": 9}, "may not be asked for"),
        ("status", {"user": 7}, "must be a name"),
        ("profiles", {"user": "a/b"}, "invalid user name"),
    ],
)
def test_the_hub_may_not_ask_for(target: str, body: object, reason: str, world: World) -> None:
    sock = world.hub.state / "run" / "launcher" / "launcher.sock"
    before = world.a.pid
    answer = in_hub_sandbox(world, f"attempt(lambda: ask({str(sock)!r}, 'POST', '/v1/{target}', {body!r}))")
    assert answer.startswith("OPEN (400")
    assert reason in answer
    assert world.a.pid == before


def test_a_person_is_told_that_a_profile_is_not_theirs(world: World) -> None:
    person = world.hub.person("isp")
    answer = person.api("POST", "/users/isp/server", json={"profile": "large"})
    assert "no profile" in answer.json().get("message", "") or "no profile" in person.progress()[-1]["message"]
    assert not person.servers()


# -- secrets -----------------------------------------------------------------------------------------------------------


def canaries(hub: RunningHub) -> dict[str, str]:
    """What nobody but its reader may see, by the only file it may be in."""
    found = {name: hub.password(name) for name in ("class_password", "admin_password.admin")}
    found.update(json.loads((hub.state / "secrets" / "tokens.json").read_text()))
    found["cookie_secret"] = (hub.state / "hub" / "cookie_secret").read_text().strip()
    assert len(found) == 7
    assert all(len(value) >= 16 for value in found.values())
    return found


def test_secrets_are_where_they_belong_and_nowhere_else(world: World) -> None:
    hub = world.hub
    secret = canaries(hub)
    server_token = world.a.in_kernel("print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    secret |= {"server_token": server_token, "person's token": world.a.person.token}
    hub.run("users", "block", "nobody-here", check=False)
    texts = {
        "command lines": "\n".join(hub.seen),
        "a second up": hub.up(),
        **{
            " ".join(words): (done := hub.run(*words, check=False)).stdout + done.stderr
            for words in (
                *(("status",), ("status", "--json"), ("plan",), ("plan", "--json"), ("check",), ("users",)),
                *(("explain", "isa"), ("logs", "hub"), ("logs", "launcher"), ("logs", "proxy"), ("logs", "isa")),
            )
        },
    }
    assert "jupyterhub" in texts["command lines"], "the collection of command lines saw nothing"
    homes_of_secrets = {"hubfleet.secrets.yaml", "tokens.json", "hub-secrets.json", "proxy_token", "cookie_secret"}
    seen_in: set[str] = set()
    for folder in (hub.state, hub.folder):
        for path in folder.rglob("*"):
            if not path.is_file() or "environments" in path.parts or path.stat().st_size > 10_000_000:
                continue
            text = path.read_bytes().decode(errors="replace")
            if path.name in homes_of_secrets:
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
                seen_in.update(name for name, value in secret.items() if value in text)
            else:
                texts[str(path)] = text
    assert seen_in >= set(canaries(hub)), "the search does not find what is there"
    leaks = [f"{name} in {where}" for where, text in texts.items() for name, value in secret.items() if value in text]
    assert leaks == []


def test_no_secret_is_in_a_command_line_while_people_come_and_go(world: World) -> None:
    with CommandLines() as watch:
        person = world.hub.person("isq")
        (world.hub.mounts / "people" / "isq").mkdir(mode=0o777)
        person.start()
        token = re.sub(r"\s", "", person.kernel().run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])"))
        person.stop()
    await_that("its process was seen", lambda: any("jupyterhub-singleuser" in line for line in watch.seen), 1)
    secret = {**canaries(world.hub), "server": token, "person": person.token, "password": person.password}
    assert [name for name, value in secret.items() if any(value in line for line in watch.seen)] == []
