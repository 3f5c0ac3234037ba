"""Interrupted deployments, full disks, broken databases: said in plain words, and nothing that ran is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from cells import Cell, can_log_in
from disks import SmallDisk
from harness import PASSWORD, Kernel, Person, RunningHub, await_that

import needs

pytestmark = [
    needs.root(),
    needs.command("mkfs.ext4", package="e2fsprogs"),
    pytest.mark.timeout(600),  # the first test makes the hub, again and again
]

_STEP = re.compile(r"\[ *\d+/\d+\] (.*)")
BY_ITSELF_S = 90.0  # the supervisor's longest pause is 30 s


class Fragile:
    """A hub with its database and its homes on small disks, made by deployments that were killed again and again."""

    def __init__(self, hub: RunningHub, folder: Path) -> None:
        self.hub = hub
        self.disk = SmallDisk(folder / "hub.img", hub.state / "hub")
        self.homes = SmallDisk(folder / "homes.img", hub.base / f"{hub.name}-homes")
        self.killed_at: list[str] = []

    def deploy(self) -> None:
        """Run `up` again and again, killed each time at another step, until one gets to the end."""
        while not self._up():
            assert len(self.killed_at) < 60, self.killed_at

    def _up(self) -> bool:
        process = subprocess.Popen(
            self.hub.command("up", "--yes", "--detach"),
            cwd=self.hub.folder,
            env={**self.hub.environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        for line in process.stdout:
            moment = self._moment(line)
            if moment and moment not in self.killed_at:
                self.killed_at.append(moment)
                process.kill()
        return process.wait() == 0

    def _moment(self, line: str) -> str | None:
        """What to kill it at: all steps but most of the directories, and the middle of an environment's making."""
        step = _STEP.match(line)
        if step:
            few = "create directory" in line and not line.rstrip().endswith("/environments")
            return None if few else step[1]
        return "build" if "packages for users" in line else None

    def remove(self) -> None:
        for disk in (self.disk, self.homes):
            disk.relieve()
        self.hub.run("down", "--yes", check=False)
        for disk in (self.disk, self.homes):
            disk.remove()
        self.hub.remove()
        shutil.rmtree(self.homes.place, ignore_errors=True)


@pytest.fixture(scope="module")
def fragile(new_hub: Callable[[str], RunningHub], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fragile]:
    hub = new_hub("")
    fragile = Fragile(hub, tmp_path_factory.mktemp("disks"))
    hub.homes = fragile.homes.place
    hub.write(
        f"login: {{password: file}}\nstorage: {{homes: {{path: {hub.homes}}}}}\n"
        "users: {plain: {servers: {fast_start: false}}}\n"
    )
    try:
        fragile.deploy()
        yield fragile
    finally:
        fragile.remove()


@pytest.fixture
def hub(fragile: Fragile, hub_logs: list[Path]) -> RunningHub:
    """The fragile hub, whole."""
    hub_logs.append(fragile.hub.logs)
    fragile.hub.await_answer()
    return fragile.hub


@pytest.fixture(scope="module")
def ada_of_module(fragile: Fragile) -> Person:
    ada = fragile.hub.person("ada")
    assert ada.start()[-1]["ready"]
    return ada


@pytest.fixture
def ada(hub: RunningHub, ada_of_module: Person) -> Person:
    """Somebody whose server runs through all of this."""
    if not ada_of_module.servers():
        assert ada_of_module.start()[-1]["ready"]
    return ada_of_module


def restart_hub(hub: RunningHub) -> None:
    os.kill(hub.pid("hub"), signal.SIGKILL)


def await_problem(hub: RunningHub, words: str) -> str:
    """Wait until `status` says "degraded" and these words among its reasons; returns that reason."""

    def look() -> str:
        status = hub.status()
        found = [problem for problem in status["problems"] if words in problem]
        return found[0] if found and status["state"] == "degraded" else ""

    return await_that(f"status says: {words}", look, 60)


# -- interrupted deployments ------------------------------------------------------------------------------------------


def test_a_deployment_killed_at_every_step_converges(fragile: Fragile, hub: RunningHub) -> None:
    assert hub.changes() == []
    kinds = {"build"} | {" ".join(moment.split()[:2]) for moment in fragile.killed_at}
    assert kinds >= {"build", "create account", "create directory", "create environment", "create file"}
    assert [moment for moment in fragile.killed_at if moment.startswith("start process")][-1] == "start process hub"
    assert hub.status()["state"] == "running"
    assert {path.name[0] for path in (hub.state / "generations").iterdir()} <= {"0", "c"}


# -- full disks -------------------------------------------------------------------------------------------------------


UNTRUSTED = {"output_type": "display_data", "data": {"text/html": "<b>not run here</b>"}, "metadata": {}}


def notebook(size: int, *outputs: dict[str, Any]) -> dict[str, Any]:
    """A notebook of about this many bytes."""
    cell = {"cell_type": "code", "id": "one", "metadata": {}, "execution_count": 1, "outputs": [*outputs]}
    return {"cells": [{**cell, "source": "x" * size}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def save(person: Person, size: int, kind: str) -> requests.Response:
    """Save about this many bytes, as an open page does."""
    body: dict[str, Any] = {"type": "file", "format": "text", "content": "x" * size}
    if kind != "file":
        # Jupyter notes a notebook that it trusts in its own database first, which has no room either.
        content = notebook(size, UNTRUSTED) if kind == "untrusted" else notebook(size)
        body = {"type": "notebook", "format": "json", "content": content}
    return person.jupyter("PUT", f"/api/contents/{WORK[kind]}", json=body)


WORK = {"notebook": "work.ipynb", "untrusted": "work.ipynb", "file": "work.md"}


@pytest.fixture(scope="module")
def kernel(ada_of_module: Person) -> Kernel:
    kernel = ada_of_module.kernel()
    assert kernel.run("print(1)") == "1\n"
    return kernel


@pytest.fixture
def homes(fragile: Fragile) -> Iterator[SmallDisk]:
    yield fragile.homes
    fragile.homes.relieve()


@pytest.mark.parametrize(
    ("kind", "old", "new", "leave"),
    [
        ("notebook", 300_000, 4_000_000, 1_000_000),  # does not fit by far
        ("notebook", 300_000, 310_000, 200_000),  # not even a copy of the old one fits
        ("notebook", 2_000, 9_000, 0),
        ("untrusted", 2_000, 7_000, 5_120),  # all of it is in the buffer until the last flush
        ("file", 2_000, 4_900, 4_096),  # a first part fits, and closing the file tries to write the rest once more
    ],
)
def test_what_does_not_fit_leaves_the_old_one(
    ada: Person, kernel: Kernel, homes: SmallDisk, kind: str, old: int, new: int, leave: int
) -> None:
    assert save(ada, old, kind).status_code == 201
    path = homes.place / "ada" / WORK[kind]
    before = path.read_bytes()
    homes.fill(leave)
    refused = save(ada, new, kind)
    assert path.read_bytes() == before
    assert refused.status_code == 507
    happened = f"{WORK[kind]} was not saved; on the disk it is as it was before"
    words = refused.json()["message"]
    assert re.match(r"The disk that your home is on (is full|has too little room left)\. ", words)
    assert f" {happened}. To make room, open /user/ada/hubfleet/room in your browser" in words
    assert kernel.run("print(2)").startswith("2")  # IPython may add at once that its own history has no room
    homes.relieve()
    assert save(ada, new, kind).status_code == 200
    assert len(path.read_bytes()) >= new
    assert [entry.name for entry in path.parent.iterdir() if "work" in entry.name] == [path.name]
    path.unlink()


def test_what_was_never_there_is_not_begun(ada: Person, homes: SmallDisk) -> None:
    homes.fill(8_192)
    refused = ada.jupyter(
        "PUT", "/api/contents/new.md", json={"type": "file", "format": "text", "content": "x" * 99_999}
    )
    assert (refused.status_code, "new.md was not saved" in refused.json()["message"]) == (507, True)
    assert not [entry.name for entry in (homes.place / "ada").iterdir() if "new.md" in entry.name]


def test_checkpoints_are_whole_or_the_earlier_ones(ada: Person, homes: SmallDisk) -> None:
    assert save(ada, 200_000, "notebook").status_code == 201
    made = ada.jupyter("POST", "/api/contents/work.ipynb/checkpoints")
    assert made.status_code == 201
    kept = homes.place / "ada" / ".ipynb_checkpoints" / "work-checkpoint.ipynb"
    earlier = kept.read_bytes()
    assert save(ada, 300_000, "notebook").status_code == 200
    work = homes.place / "ada" / "work.ipynb"
    later = work.read_bytes()
    homes.fill(60_000)
    refused = ada.jupyter("POST", "/api/contents/work.ipynb/checkpoints")
    assert refused.status_code == 507
    assert "work.ipynb is saved, but there is no checkpoint of it to go back to" in refused.json()["message"]
    assert kept.read_bytes() == earlier
    refused = ada.jupyter("POST", "/api/contents/work.ipynb/checkpoints/checkpoint")
    assert (refused.status_code, work.read_bytes()) == (507, later)
    assert "work.ipynb is as it was" in refused.json()["message"]
    homes.relieve()
    assert ada.jupyter("POST", "/api/contents/work.ipynb/checkpoints/checkpoint").status_code == 204
    assert work.read_bytes() == earlier
    work.unlink()
    kept.unlink()


MAKE = "import os\nfor one in {}: os.makedirs(os.path.expanduser('~/') + one, exist_ok=True)"
DIRECTORIES = (".jupyter", ".local/share/jupyter", ".ipython/profile_default")


@pytest.mark.parametrize(
    ("name", "plainly"), [("bea", " configures it"), ("bob", ": JUPYTER_CONFIG_DIR"), ("cyd", ": the home is full")]
)
def test_a_server_starts_in_a_full_home_and_room_is_made_there(
    hub: RunningHub, fragile: Fragile, homes: SmallDisk, name: str, plainly: str
) -> None:
    """Bea wants a trash, and so has settings of her own; bob has none of the directories that Jupyter wants, cyd all.
    For one reason or another nobody's server is one that was prepared in a home with room."""
    person = hub.person(name)
    person.start()
    home = homes.place / name
    if name == "bea":
        person.configure("c.FullDiskFileManager.delete_to_trash = True\n")
        person.stop()
        person.start()
    elif name == "cyd":
        assert person.kernel().run(MAKE.format(DIRECTORIES)) == ""
    else:
        assert person.kernel().run("print(1)") == "1\n"
    for file in ("gone.txt", "kept.txt", "large.txt"):
        body = {"type": "file", "format": "text", "content": "x" * 1_300_000}
        assert person.jupyter("PUT", f"/api/contents/{file}", json=body).status_code == 201
    assert person.jupyter("DELETE", "/api/contents/gone.txt").status_code == 204
    homes.fill()
    person.stop()
    assert person.start()[-1].get("ready")
    _, _, line = (hub.logs / "servers" / f"{name}.log").read_text().rpartition("--- server started plainly")
    assert plainly in line.partition("\n")[0]
    assert person.kernel().run("print(6 * 7)").startswith("42")
    body = {"type": "file", "format": "text", "content": "y" * 9999}
    assert person.jupyter("PUT", "/api/contents/kept.txt", json=body).status_code == 507
    assert (home / "kept.txt").stat().st_size == 1_300_000
    page = person.room()
    assert "kept.txt (1.2 MB)" in page
    assert ("1 thing that you deleted" in page) == (name == "bea")
    if name == "bea":
        page = person.room({"action": "trash"})
        assert "Done: 1.2 MB more are free." in page
        assert "Trash" not in page
        homes.fill()
    assert "is not a file of this home" in person.room({"action": "files", "file": "../ada/work.ipynb"})
    page = person.room({"action": "files", "file": "large.txt"})
    assert "Done: 1.2 MB more are free." in page
    assert not (home / "large.txt").exists()
    assert person.jupyter("PUT", "/api/contents/later.txt", json=body).status_code == 201
    homes.relieve()
    person.stop()
    (home / "kept.txt").unlink()


@pytest.fixture
def disk(fragile: Fragile) -> Iterator[SmallDisk]:
    yield fragile.disk
    fragile.disk.relieve()
    fragile.hub.await_answer()


def test_a_full_disk_under_the_hub_is_named_and_passes_by_itself(
    hub: RunningHub, ada: Person, fragile: Fragile, disk: SmallDisk
) -> None:
    cell = Cell(ada, fragile.homes.place / "ada")
    disk.fill()
    newcomer = Person(hub, "newcomer", PASSWORD)
    page = newcomer.sign_up(hub.password("class_password"))
    assert page.status_code == 503
    assert "The hub's disk is full" in page.text
    assert "servers that run go on running" in page.text
    restart_hub(hub)
    assert str(disk.place) in await_problem(hub, "the disk is full")
    away = requests.get(f"{hub.url}/hub/login", timeout=10)
    assert (away.status_code, "hub or your server does not answer" in away.text) == (503, True), away.text
    cell.goes_on()
    disk.relieve()
    await_that("the hub comes back by itself", hub.answers, BY_ITSELF_S)
    assert can_log_in(ada)
    assert newcomer.sign_up(hub.password("class_password")).status_code == 200
    assert newcomer.log_in().status_code == 302
    cell.finish()
    assert cell.reconnects == 0


def test_a_right_token_is_not_called_wrong_on_a_full_disk(hub: RunningHub, ada: Person, disk: SmallDisk) -> None:
    """The first use of a token is noted before anything else."""
    token = ada.api("POST", "/users/ada/tokens", json={}).json()["token"]
    asked = {"url": f"{hub.url}/hub/api/user", "headers": {"Authorization": f"token {token}"}, "timeout": 10}
    disk.fill()
    for method in ("GET", "POST"):
        told = requests.request(method, **asked)
        assert (told.status_code, told.json()["status"]) == (503, 503), told.text
        assert told.json()["message"].startswith("The hub's disk is full")
    assert str(disk.place) in await_problem(hub, "the disk is full")
    disk.relieve()
    assert requests.get(**asked).json()["name"] == "ada"
    assert requests.get(**{**asked, "headers": {"Authorization": "token none"}}).status_code == 403


def test_a_disk_that_was_full_for_a_while_needs_no_restart(hub: RunningHub, ada: Person, disk: SmallDisk) -> None:
    pid = hub.pid("hub")
    disk.fill()
    assert Person(hub, "hasty", PASSWORD).sign_up(hub.password("class_password")).status_code == 503
    assert ada.jupyter("GET", "/api/status").status_code == 200
    disk.relieve()
    await_that("people can log in again", lambda: can_log_in(ada), 60)
    patient = Person(hub, "patient", PASSWORD)
    assert patient.sign_up(hub.password("class_password")).status_code == 200
    assert patient.log_in().status_code == 302
    assert hub.pid("hub") == pid


# -- the database -----------------------------------------------------------------------------------------------------

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def database(hub: RunningHub) -> Path:
    return hub.state / "hub" / "jupyterhub.sqlite"


def test_a_database_locked_by_another_program_is_waited_for(
    hub: RunningHub, ada: Person, fragile: Fragile, database: Path
) -> None:
    cell = Cell(ada, fragile.homes.place / "ada")
    other = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    assert other.stdout.readline() == "locked\n"
    try:
        restart_hub(hub)
        await_problem(hub, "another program holds the database")
        failed = hub.run("up", "--yes", "--detach", check=False)
        assert failed.returncode == 4
        assert f"another program holds the database. End that program (see: fuser {database})" in failed.stderr
        assert "users' running servers are not touched" in failed.stderr
        cell.goes_on()
    finally:
        other.communicate("\n")
    await_that("the hub comes back by itself", hub.answers, BY_ITSELF_S)
    assert can_log_in(ada)
    cell.finish()
    assert cell.reconnects == 0
    assert hub.changes() == []


def test_a_damaged_database_stops_the_start_and_the_command_shown_brings_the_last_copy_back(
    hub: RunningHub, ada: Person, fragile: Fragile, database: Path
) -> None:
    restart_hub(hub)  # so that the last sound copy knows everybody
    await_that("the hub is back", lambda: hub.answers() and can_log_in(ada), 60)
    cell = Cell(ada, fragile.homes.place / "ada")
    with open(database, "r+b") as file:
        for page in range(2, database.stat().st_size // 4096, 2):
            file.seek(page * 4096)
            file.write(os.urandom(4096))
    restart_hub(hub)
    await_problem(hub, "the database is damaged")
    failed = hub.run("up", "--yes", "--detach", check=False)
    assert failed.returncode == 4
    newest = sorted(database.parent.glob("jupyterhub.sqlite.good-*"))[-1]
    assert f"The last sound copy is {newest}. To go back to it: " in failed.stderr
    command = re.search(r"To go back to it: (.*? && cp -p \S+ \S+)", failed.stderr)
    assert command
    cell.goes_on()
    for suffix in ("-wal", "-shm", "-journal"):
        database.with_name(f"{database.name}{suffix}").write_bytes(b"left behind by the damaged one")
    subprocess.run(command[1], shell=True, check=True)
    hub.up()
    assert can_log_in(ada)
    assert list(ada.servers()) == [""]
    cell.finish()
    assert cell.reconnects == 0
    assert hub.changes() == []
    database.with_name(f"{database.name}.damaged").unlink()


# -- failing starts ---------------------------------------------------------------------------------------------------


@pytest.fixture
def program(hub: RunningHub) -> Iterator[Path]:
    """The program of users' servers, to be broken."""
    program = next((hub.state / "environments").glob("users-*/bin/jupyterhub-singleuser"))
    kept = program.read_bytes()
    yield program
    program.write_bytes(kept)


@pytest.fixture
def imports_only(hub: RunningHub) -> Iterator[None]:
    """Forks run their user's own configuration: code in the system's makes all starts begin at their beginning."""
    environment = next((hub.state / "environments").glob("users-*/bin")).parent
    code = environment / "etc" / "jupyter" / "jupyter_server_config.py"
    code.write_text("# code may ask who it runs for\n")
    ann = hub.person("ann")
    assert ann.start()[-1]["ready"]  # the first request after a change is what the fork server sees it at
    ann.stop()
    log = hub.logs / "launcher.log"
    await_that("that has been seen", lambda: "jupyter_server_config.py may ask who it runs for" in log.read_text(), 90)
    await_that("the fork server is back", lambda: "is ready" in log.read_text().rpartition("has ended")[2], 90)
    yield
    code.unlink()


FAILS = """
import os, sys, time
time.sleep({seconds})
print({words!r}, file=sys.stderr, flush=True)
os._exit(3)
"""


@pytest.mark.parametrize(("name", "last_words"), [("forked", "out of luck"), ("plain", "")])
@pytest.mark.usefixtures("imports_only")
def test_a_failing_start_says_why_within_seconds(hub: RunningHub, program: Path, name: str, last_words: str) -> None:
    ben = hub.person(name)
    assert ben.start()[-1]["ready"]
    ben.stop()

    def fail(seconds: int, words: str) -> None:
        # A plain start runs the program; a fork has it in its memory, and reads its user's configuration.
        if name == "plain":
            program.write_text(f"#!/bin/sh\nsleep {seconds}; echo '{words}' >&2\nexit 3\n")
        else:
            program.write_text("#!/bin/sh\nexit 9\n")
            ben.configure(FAILS.format(seconds=seconds, words=words))

    why = (
        "Your server could not be started: it exited with code 3. It said last: ImportError: no module named jupyterlab"
    )
    fail(2, "ImportError: no module named jupyterlab")
    began = time.monotonic()
    failed = ben.start()[-1]
    print(f"a start that fails after 2 s told its reason after {time.monotonic() - began:.1f} s")
    assert failed["failed"]
    assert why in failed["message"]
    assert time.monotonic() - began < 20
    # One that fails at once is refused at once; its reason is this start's, not the last one's.
    fail(0, last_words)
    refused = ben.api("POST", f"/users/{name}/server")
    assert refused.status_code == 500
    why = why.partition("ImportError")[0] + (last_words or "nothing")
    assert refused.json()["message"] == why
    page = ben.session.get(f"{hub.url}/hub/spawn/{name}")
    assert page.status_code == 500
    assert why in page.text
    assert f"{name}: {why.partition(': ')[2]}" in hub.run("logs", name).stdout
    assert not ben.servers()


def test_a_home_that_is_no_directory_is_named(hub: RunningHub, fragile: Fragile) -> None:
    carl = hub.person("carl")
    (fragile.homes.place / "carl").write_text("in the way")
    refused = carl.api("POST", "/users/carl/server")
    assert refused.status_code == 500
    why = f"{fragile.homes.place}/carl is not a directory; an administrator has to look at it"
    assert why in refused.json()["message"]
    assert f"carl: {why}" in hub.run("logs", "carl").stdout
    (fragile.homes.place / "carl").unlink()
    assert carl.start()[-1]["ready"]
    carl.stop()
