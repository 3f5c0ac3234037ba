"""What users notice when a part of the hub dies or is replaced: nothing, but a page that reconnects."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import alembic.command
import alembic.config
import psutil
import pytest
import requests
from cells import Cell, can_log_in, the_server
from harness import PASSWORD, Person, RunningHub, await_that, free_port
from jupyterhub import dbutil

import needs
from hubfleet.logfiles import KEEP, LIMIT_BYTES

pytestmark = [needs.root(), pytest.mark.timeout(600)]  # the first test makes the hub

EARLIER = "be8ecf03ddac"
"""The form of database that JupyterHub had before its release 6."""
SETTINGS = "login: {password: file}\n"
BACK_LIMIT_S = 60.0  # a loaded machine; what was measured is printed


@pytest.fixture(scope="module")
def steady(new_hub: Callable[[str], RunningHub]) -> RunningHub:
    hub = new_hub(SETTINGS)
    hub.up()
    return hub


@pytest.fixture(scope="module")
def ada_of_module(steady: RunningHub) -> Person:
    ada = steady.person("ada")
    assert ada.start()[-1]["ready"]
    return ada


@pytest.fixture
def ada(steady: RunningHub, ada_of_module: Person, hub_logs: list[Path]) -> Person:
    """Somebody whose server runs through all of this."""
    hub_logs.append(steady.logs)
    steady.await_answer()
    await_that("a hub with nothing to change", lambda: steady.changes() == [], 60)
    if not ada_of_module.servers():
        assert ada_of_module.start()[-1]["ready"]
    return ada_of_module


@pytest.fixture
def cell(steady: RunningHub, ada: Person) -> Iterator[Cell]:
    cell = Cell(ada, steady.state / "homes" / "ada")
    yield cell
    cell.end()


def kill(hub: RunningHub, part: str) -> int:
    pid = hub.pid(part)
    os.kill(pid, signal.SIGKILL)
    return pid


def supervisor_pid(hub: RunningHub) -> int:
    status = (hub.state / "supervisor" / "status.json").read_text()
    return int(json.loads(status)["pid"])


def processes_of(hub: RunningHub) -> list[psutil.Process]:
    """Everything that runs from this hub's own environment: supervisor, hub, proxy, launcher, culler."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words and words[0].startswith(str(hub.state / "environments" / "hub-")):
            found.append(process)
    return found


@pytest.mark.parametrize("part", ["hub", "proxy", "launcher"])
def test_a_killed_part_comes_back_and_a_running_cell_does_not_notice(
    steady: RunningHub, ada: Person, cell: Cell, part: str
) -> None:
    count = len(processes_of(steady))
    dead = kill(steady, part)
    began = time.monotonic()
    await_that(f"a new {part}", lambda: steady.pid(part) != dead)
    await_that("login works", lambda: can_log_in(ada), BACK_LIMIT_S)
    print(f"kill -9 of {part}: login works again after {time.monotonic() - began:.1f} s")
    await_that("the server answers", lambda: ada.jupyter("GET", "/api/status").status_code == 200, BACK_LIMIT_S)
    print(f"kill -9 of {part}: the running server is reached again after {time.monotonic() - began:.1f} s")
    cell.finish()
    assert (cell.reconnects > 0) == (part == "proxy")
    assert list(ada.servers()) == [""]
    await_that("nothing to change", lambda: steady.changes() == [])
    await_that("no process of the dead one is left over", lambda: len(processes_of(steady)) == count)


def test_nobody_is_told_that_a_page_is_not_there_while_the_proxy_is_started_again(
    steady: RunningHub, ada: Person
) -> None:
    """JupyterLab takes that for the end of its directory; a connection that is refused it tries again."""
    told: list[int] = []

    def ask() -> int:
        try:
            told.append(ada.jupyter("GET", "/api/status").status_code)
        except requests.ConnectionError:
            told.append(0)
        return told[-1]

    await_that("the server answers", lambda: ask() == 200, BACK_LIMIT_S)
    dead = kill(steady, "proxy")
    await_that("a new proxy answers", lambda: ask() == 200 and steady.pid("proxy") != dead, BACK_LIMIT_S)
    assert set(told) == {0, 200}, told


def test_a_killed_supervisor_takes_its_three_with_it_and_up_brings_them_back(
    steady: RunningHub, ada: Person, cell: Cell
) -> None:
    pids = [steady.pid(part) for part in ("hub", "proxy", "launcher")]
    os.kill(supervisor_pid(steady), signal.SIGKILL)
    await_that("its three have ended", lambda: not any(psutil.pid_exists(pid) for pid in pids))
    status = steady.status()
    assert status["state"] == "stopped"
    cell.goes_on()
    began = time.monotonic()
    steady.up()
    await_that("login works", lambda: can_log_in(ada), BACK_LIMIT_S)
    print(f"kill -9 of supervisor: login works {time.monotonic() - began:.1f} s after `hubfleet up --detach` is typed")
    cell.finish()
    assert cell.reconnects > 0
    assert steady.changes() == []
    assert steady.status()["state"] == "running"


def test_a_change_that_restarts_hub_and_launcher_does_not_disturb_a_cell(
    steady: RunningHub, ada: Person, cell: Cell
) -> None:
    before = {part: steady.pid(part) for part in ("hub", "proxy", "launcher")}
    steady.write("login: {password: file, admins: [admin, second]}\nservers: {stop_after_idle: 3h}\n")
    assert {(change["resource"], change["action"]) for change in steady.changes()} >= {
        ("process:hub", "restart"),
        ("process:launcher", "restart"),
    }
    steady.up()
    assert {part for part in before if steady.pid(part) != before[part]} == {"hub", "launcher"}
    assert can_log_in(ada)
    cell.finish()
    assert cell.reconnects == 0
    assert steady.changes() == []


def test_an_earlier_hub_s_database_gets_its_form_at_the_start_and_a_cell_does_not_notice(
    steady: RunningHub, ada: Person, cell: Cell
) -> None:
    database = steady.state / "hub" / "jupyterhub.sqlite"
    before, owner = _form(database), database.stat().st_uid
    supervisor = psutil.Process(supervisor_pid(steady))
    supervisor.suspend()  # or it would start the hub while its database is made an earlier one's
    try:
        hub = psutil.Process(kill(steady, "hub"))
        await_that("the hub has ended", lambda: hub.status() == psutil.STATUS_ZOMBIE)
        dbutil.write_alembic_ini(str(steady.folder / "alembic.ini"), f"sqlite:///{database}")
        alembic.command.downgrade(alembic.config.Config(str(steady.folder / "alembic.ini")), EARLIER)
        assert _form(database) == EARLIER != before
    finally:
        supervisor.resume()
    await_that("people come in again", lambda: can_log_in(ada), BACK_LIMIT_S)
    assert _form(database) == before
    assert (database.stat().st_uid, database.stat().st_mode & 0o777) == (owner, 0o600)
    assert not list(database.parent.glob("*upgrad*"))
    cell.finish()
    assert cell.reconnects == 0
    assert steady.changes() == []


def _form(database: Path) -> str:
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as opened:
        return str(opened.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_another_port_and_the_running_server_is_reached_there(steady: RunningHub, ada: Person, cell: Cell) -> None:
    assert ada.session.get(f"{steady.url}/user/ada/lab").url.endswith("/user/ada/lab")
    old_url, proxy = steady.url, steady.pid("proxy")
    steady.port = free_port()
    steady.url = f"http://127.0.0.1:{steady.port}"
    steady.write(steady.settings)
    steady.up()
    assert steady.pid("proxy") != proxy
    with pytest.raises(requests.ConnectionError):
        requests.get(old_url, timeout=5)
    await_that("the page goes on", lambda: cell.reconnects, 60)
    assert can_log_in(ada)
    page = ada.session.get(f"{steady.url}/user/ada/lab")
    assert (page.status_code, page.url) == (200, f"{steady.url}/user/ada/lab")
    assert requests.get(f"{steady.url}/user/ada/api/contents", timeout=30).status_code == 403
    assert ada.jupyter("GET", "/api/contents").status_code == 200
    cell.finish()
    assert steady.changes() == []


def test_new_packages_are_for_the_next_start(steady: RunningHub, ada: Person, cell: Cell) -> None:
    old = {path.name for path in (steady.state / "environments").glob("users-*")}
    steady.write(f"{SETTINGS}servers: {{packages: [text-unidecode]}}\n")
    steady.up()
    cell.finish()
    plan = steady.run("plan").stdout
    assert "still in use; it is removed later" in plan
    assert steady.changes() == []
    look = "import importlib.util as u; print(bool(u.find_spec('text_unidecode')))"
    assert ada.kernel().run(look) == "False\n"
    ada.stop()
    assert ada.start()[-1]["ready"]
    assert ada.kernel().run(look) == "True\n"
    removed = steady.changes()
    assert [(change["action"], Path(change["resource"]).name) for change in removed] == [("remove", *old)]
    steady.up()
    assert not old & {path.name for path in (steady.state / "environments").glob("users-*")}
    assert steady.changes() == []


@pytest.fixture
def operator(steady: RunningHub) -> Iterator[subprocess.Popen[str]]:
    """Somebody who runs `up`, held still at its first step."""
    steady.write(
        f"{steady.settings}# changed\nstorage: {{homes: {{}}}}\ngroups: {{g{free_port()}: {{members: [x]}}}}\n"
    )
    process = subprocess.Popen(
        steady.command("up", "--yes", "--detach"),
        cwd=steady.folder,
        env={**steady.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    for line in process.stdout:
        if line.startswith("[ 1/"):
            break
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.communicate()


def test_a_second_operator_is_refused_and_a_dead_one_leaves_no_lock(
    steady: RunningHub, ada: Person, operator: subprocess.Popen[str]
) -> None:
    overrides = steady.state / "overrides.json"
    refused = steady.run("up", "--yes", "--port", str(free_port()), check=False)
    assert refused.returncode == 5
    assert f"(process {operator.pid} on" in refused.stderr
    assert "is changing this hub now. Nothing was changed." in refused.stderr
    assert not overrides.exists()
    operator.kill()
    operator.wait()
    steady.up()
    assert steady.changes() == []
    steady.await_answer()
    assert the_server(ada)


# -- "cannot tell" is never "stopped" ---------------------------------------------------------------------------------


def test_a_hub_restarted_while_the_launcher_is_silent_and_a_server_unreachable_loses_nothing(
    steady: RunningHub, ada: Person, cell: Cell
) -> None:
    launcher = psutil.Process(steady.pid("launcher"))
    socket = Path(unquote(the_record(steady, ada)["url"].partition("://")[2]))
    away = socket.with_suffix(".away")
    launcher.suspend()
    socket.rename(away)
    try:
        dead = kill(steady, "hub")
        await_that("a new hub", lambda: steady.pid("hub") != dead)
        await_that("login works", lambda: can_log_in(ada), BACK_LIMIT_S)
        began = time.monotonic()
        # The launcher is asked for 10 s; JupyterHub's own patience with a server that it finds again ends 30 s later.
        await_that("both are over", lambda: time.monotonic() - began > 45, 60)
        cell.goes_on()
        assert list(ada.servers()) == [""]
        assert ada.servers()[""]["pending"] != "stop"
        assert not ada.servers()[""]["stopped"]
    finally:
        away.rename(socket)
        launcher.resume()
    await_that("the server is ready again", lambda: ada.servers()[""]["ready"], BACK_LIMIT_S)
    assert ada.jupyter("GET", "/api/status").status_code == 200
    cell.finish()
    await_that("nothing to change", lambda: steady.changes() == [])


@pytest.fixture
def ben(steady: RunningHub, hub_logs: list[Path]) -> Iterator[Person]:
    ben = Person(steady, f"ben{free_port()}", PASSWORD)
    assert ben.sign_up(steady.password("class_password")).status_code == 200
    assert ben.log_in().status_code == 302
    assert ben.start()[-1]["ready"]
    yield ben
    if ben.servers():
        ben.stop()


def test_without_a_launcher_servers_are_kept_and_those_that_ended_are_found_out_later(
    steady: RunningHub, ada: Person, cell: Cell, ben: Person
) -> None:
    settings = steady.state / "launcher" / "launcher.json"
    records = steady.state / "launcher" / "servers"
    settings.rename(settings.with_suffix(".away"))  # no launcher can start
    try:
        dead = kill(steady, "launcher")
        await_that("no launcher", lambda: not psutil.pid_exists(dead))
        hub = kill(steady, "hub")
        await_that("a new hub", lambda: steady.pid("hub") != hub)
        await_that("login works", lambda: can_log_in(ada), BACK_LIMIT_S)
        psutil.Process(the_record(steady, ben)["handle"]["pid"]).kill()
        (records / "damaged.json").write_text('{"id": "dam')
        gone = {**the_record(steady, ben), "id": "gone", "user": "gone"}
        gone["handle"] = {**gone["handle"], "pid": os.getpid()}  # a number that means another process by now
        (records / "gone.json").write_text(json.dumps(gone))
        await_that("both are still kept", lambda: [list(who.servers()) for who in (ada, ben)] == [[""], [""]])
        assert steady.status()["state"] == "degraded"
        cell.goes_on()
    finally:
        settings.with_suffix(".away").rename(settings)
    steady.up()
    await_that("ben's server is found ended", lambda: not ben.servers(), 60)
    assert "it ended while nobody was watching" in steady.run("logs", ben.name).stdout
    assert [entry["user"] for entry in steady.status()["servers"]] == ["ada"]
    assert sorted(path.name for path in records.iterdir()) == ["ada.json", "damaged.damaged"]
    (records / "damaged.damaged").unlink()
    await_that("ada's server is ready", lambda: ada.servers()[""]["ready"], BACK_LIMIT_S)
    cell.finish()
    assert cell.reconnects == 0
    assert steady.changes() == []


def the_record(hub: RunningHub, person: Person) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((hub.state / "launcher" / "servers" / f"{person.name}.json").read_text())
    return record


# -- logs -------------------------------------------------------------------------------------------------------------


def writers(path: Path) -> dict[int, bool]:
    """The processes that have this file open for writing, and whether they append, wherever it ends just then."""
    found = {}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(descriptor) == str(path):
                flags = (descriptor.parents[1] / "fdinfo" / descriptor.name).read_text().split("flags:")[1].split()[0]
                if int(flags, 8) & os.O_ACCMODE:
                    found[int(descriptor.parts[2])] = bool(int(flags, 8) & os.O_APPEND)
    return found


def test_logs_are_kept_small_and_their_writers_write_on(steady: RunningHub, ada: Person, ben: Person) -> None:
    logs = [steady.logs / f"{part}.log" for part in ("hub", "proxy", "launcher", "supervisor", "fork-server")]
    logs.append(steady.logs / "servers" / "ada.log")
    before = {path: writers(path) for path in logs}
    assert [path.name for path, found in before.items() if not found or not all(found.values())] == []
    for _ in range(KEEP + 2):
        for path in logs:
            with open(path, "a") as file:
                file.write("a line that somebody wrote far too often\n" * 200_000)  # 8 MB
        await_that("every log is small again", lambda: all(path.stat().st_size < 1_000_000 for path in logs))
    total = sum(path.stat().st_size for path in steady.logs.rglob("*"))
    assert total <= len(logs) * (KEEP + 1) * LIMIT_BYTES
    assert {path: writers(path) for path in logs} == before

    sizes = {path: path.stat().st_size for path in logs}
    requests.get(f"{steady.url}/hub/api/", timeout=30)
    requests.get(f"{steady.url}/user/ada/api/", timeout=30)
    ben.stop()  # noted by the launcher
    for parent in before[steady.logs / "fork-server.log"]:
        os.kill(parent, signal.SIGKILL)  # another begins with a few lines
    kill(steady, "hub")  # noted by the supervisor

    def all_grow() -> bool:
        requests.get(f"{steady.url}/hub/api/", timeout=30)  # the proxy notes each one that the hub does not answer
        return all(path.stat().st_size > size for path, size in sizes.items())

    await_that("all go on writing", all_grow)
    steady.await_answer()
    for path in logs:
        assert "\0" not in path.read_text()
