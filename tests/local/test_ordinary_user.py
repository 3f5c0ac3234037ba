"""The whole hub started by an account without privileges: it works, and says plainly what it cannot do."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from confined import PREAMBLE
from harness import RunningHub, await_that

import needs

REPOSITORY = Path(__file__).parents[2]
NOT_ISOLATED = "not isolated from each other"

pytestmark = [needs.root(), needs.linux()]


@pytest.fixture(scope="module")
def account(base: Path) -> Iterator[str]:
    """A throw-away account with a home, and hubfleet installed in it."""
    name = f"hft{secrets.token_hex(4)}"
    home = base / name
    subprocess.run(["useradd", "--create-home", "--home-dir", home, name], check=True)
    try:
        install(home)
        subprocess.run(["chown", "-R", f"{name}:", home], check=True)
        yield name
    finally:
        # Refused while another program changes the accounts, or a process of this one is about to end.
        await_that("the account is gone", lambda: subprocess.run(["userdel", name]).returncode in (0, 6), 60)
        shutil.rmtree(home, ignore_errors=True)


def install(home: Path) -> None:
    """What `make venv` does; with the system's Python, for the one of the tests may be root's only."""
    venv = home / "venv"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", venv], check=True)
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    lock = REPOSITORY / "requirements" / "cli.txt"
    options = ["--quiet", "--python", venv / "bin/python", "--require-hashes", "-r", lock]
    found = os.environ.get("PIP_FIND_LINKS")
    subprocess.run([uv, "pip", "install", *options, *(["--find-links", found] if found else [])], check=True)
    shutil.copytree(REPOSITORY / "src", home / "src", ignore=shutil.ignore_patterns("__pycache__"))
    next(venv.glob("lib/python*/site-packages")).joinpath("checkout.pth").write_text(f"{home}/src\n")


@pytest.fixture(scope="module")
def made(account: str) -> Iterator[tuple[RunningHub, str]]:
    """The hub, and what `up` said."""
    home = Path(pwd.getpwnam(account).pw_dir)
    folder = home / "course"
    folder.mkdir()
    hub = RunningHub(home / ".local" / "share" / "hubfleet", folder, as_user=account)
    subprocess.run(["chown", "-R", f"{account}:", folder], check=True)
    hub.python = home / "venv" / "bin" / "python"
    said = hub.up()
    run = run_directory(hub)
    yield hub, said
    hub.remove()
    shutil.rmtree(run, ignore_errors=True)


@pytest.fixture
def hub(made: tuple[RunningHub, str], hub_logs: list[Path]) -> RunningHub:
    hub_logs.append(made[0].logs)
    made[0].await_answer()
    return made[0]


def run_directory(hub: RunningHub) -> Path:
    """Where its sockets are: beside its state, or under /tmp when that path is too long for a socket."""
    usual = hub.state / "run"
    assert hub.as_user
    elsewhere = f"hubfleet-{pwd.getpwnam(hub.as_user).pw_uid}-*"
    return (
        usual if usual.exists() else next(path for path in Path("/tmp").glob(elsewhere) if path.owner() == hub.as_user)
    )


def test_it_says_that_people_are_not_isolated(made: tuple[RunningHub, str], hub: RunningHub) -> None:
    said = {"up": made[1], "check": hub.run("check").stdout, "plan": hub.run("plan").stdout}
    person = hub.person("nat")
    for page in ("login", "signup"):
        said[page] = requests.get(f"{hub.url}/hub/{page}").text
    for page in ("home", "token"):
        said[page] = person.session.get(f"{hub.url}/hub/{page}").text
    assert [where for where, text in said.items() if NOT_ISOLATED not in text] == []


def test_a_person_signs_up_starts_computes_and_stops(hub: RunningHub, account: str) -> None:
    ada = hub.person("ada")
    assert ada.start()[-1].get("ready")
    kernel = ada.kernel()
    assert kernel.run("print(6 * 7)") == "42\n"
    who, home = kernel.run("import os; print(os.getuid(), os.getcwd())").split()
    assert int(who) == pwd.getpwnam(account).pw_uid
    assert home == str(hub.state / "homes" / "ada")
    kernel.run("open('kept.txt', 'w').write('kept')")
    pid = int(kernel.run("print(os.getpid())"))
    starter = int(kernel.run("print(os.getppid())"))
    assert Path(f"/proc/{starter}/cmdline").read_bytes() == b"hubfleet-kernels\0"
    assert [entry["user"] for entry in hub.status()["servers"]] == ["ada"]
    ada.stop()
    await_that("its kernel is gone", lambda: not Path(f"/proc/{pid}").exists())
    await_that("and what that was forked from", lambda: not Path(f"/proc/{starter}").exists())
    assert hub.status()["servers"] == []
    assert (hub.state / "homes" / "ada" / "kept.txt").read_text() == "kept"


def test_nobody_of_the_account_looks_into_what_servers_and_kernels_are_forked_from(hub: RunningHub) -> None:
    """All run under one account. What belongs to the account in /proc its processes could read and write."""
    launcher = hub.pid("launcher")

    def parents() -> list[Path]:
        pids = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        found = [Path(f"/proc/{pid}") for pid in pids]
        return [one for one in found if b"hubfleet-kernels" in one.joinpath("cmdline").read_bytes() or _forks(one)]

    await_that("both are there", lambda: len(parents()) == 2, 90)
    await_that("and ready", lambda: (hub.logs / "launcher.log").read_text().count(" is ready (") >= 2, 90)
    assert [parent.joinpath("environ").stat().st_uid for parent in parents()] == [0, 0]
    assert Path(f"/proc/{launcher}/environ").stat().st_uid != 0, "so this tells something"


def _forks(process: Path) -> bool:
    return b"forkserver/parent.py" in process.joinpath("cmdline").read_bytes()


def test_every_process_is_the_accounts_own(hub: RunningHub, account: str) -> None:
    uid = pwd.getpwnam(account).pw_uid
    assert {Path(f"/proc/{hub.pid(name)}").stat().st_uid for name in ("hub", "proxy", "launcher")} == {uid}


def test_other_accounts_of_the_machine_reach_nothing(hub: RunningHub) -> None:
    """Its people share one account; everybody else is kept out by the mode of the state directory."""
    run = run_directory(hub)
    sockets = [run / path for path in ("hub/hub.sock", "proxy/api.sock", "launcher/launcher.sock")]
    probe = f"for path in {[str(path) for path in sockets]!r}: attempt(lambda: connect(path))"

    def tried() -> list[str]:
        command = ["/usr/bin/python3", "-c", PREAMBLE + probe]
        done = subprocess.run(command, user="nobody", group="nogroup", extra_groups=[], capture_output=True, text=True)
        return [line.split()[0].strip(":") for line in done.stdout.splitlines()]

    assert tried() == ["blocked"] * 3
    closed = [hub.base, hub.state, run, *(path.parent for path in sockets)]
    before = {path: path.stat().st_mode for path in closed}
    try:
        for path in closed:
            path.chmod(0o755)
        assert tried() == ["OPEN", "blocked", "blocked"], "with open directories only the sockets' own modes are left"
    finally:
        for path, mode in before.items():
            path.chmod(mode & 0o7777)


REFUSED = """
servers:
  memory: {limit: 1G}  # servers.memory.limit
  processes: 100  # servers.processes
  profiles:
    big: {cpu: {limit: 2}}  # servers.profiles.big.cpu.limit
groups:
  staff:
    members: [ta]
    servers: {memory: {guarantee: 1G}}  # groups.staff.servers.memory.guarantee
    storage: {mounts: ["/usr/share/doc:/doc:ro"]}  # groups.staff.storage.mounts
users:
  ta: {servers: {cpu: {guarantee: 1}}}  # users.ta.servers.cpu.guarantee
storage:
  mounts: ["/usr/share/doc:/doc:ro"]  # storage.mounts
"""


def test_what_cannot_be_enforced_is_refused(hub: RunningHub) -> None:
    generation = hub.status()["generation"]
    try:
        hub.write(REFUSED)
        lines = (hub.folder / "hubfleet.yaml").read_text().splitlines()
        expected = [f"hubfleet.yaml:{n}: {line.partition('# ')[2]}" for n, line in enumerate(lines, 1) if "# " in line]
        assert len(expected) == 7
        for command in (("check",), ("plan",), ("up", "--yes", "--detach")):
            done = hub.run(*command, check=False)
            said = done.stdout + done.stderr
            assert done.returncode == 3, said
            assert [start for start in expected if start not in said] == []
            assert said.count("Try: run hubfleet as root (sudo), or remove") == 7
    finally:
        hub.write("")
    assert hub.status()["generation"] == generation


def test_down_and_up_again(hub: RunningHub) -> None:
    pids = [hub.pid(name) for name in ("hub", "proxy", "launcher")]
    assert hub.changes() == []
    hub.down()
    assert hub.status()["state"] == "stopped"
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    hub.up()
    status = hub.status()
    assert (status["state"], status["problems"]) == ("running", [])


def test_a_load_test_works_and_leaves_nothing(hub: RunningHub) -> None:
    hub.run("loadtest", "--people", "1", "--idle", "0", "--output", "class")
    data = json.loads((hub.folder / "class.json").read_text())
    assert data["failed"] == 0
    [footprint] = data["machine"]["people"].values()
    assert 10e6 < footprint["pss"] < 1e9
    assert footprint["processes"] == 3, "a server, its starter of kernels, a kernel: though all have the same user id"
    assert not list((hub.state / "homes").glob("loadtest-*"))
