"""Containers on a real engine: what they may, how one takes another's place, and what is there after a kill."""

from __future__ import annotations

import grp
import pwd
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import dockerd
import pytest
from converging import converge, look, own, remove

import needs
from hubfleet.agent import container as container_agent
from hubfleet.agent import converge as agent
from hubfleet.agent.docker import Engine
from hubfleet.errors import ApplyError, CheckError
from hubfleet.resources import Change, Container, File
from waiting import soon

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.usefixtures("reach"),
]

SERVE = """
import http.server, os, socketserver, sys
path = "/run/there/socket"
if os.path.exists(path):
    os.unlink(path)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[1]))
        self.end_headers()
    def log_message(self, *words):
        pass
print("serving", flush=True)
socketserver.UnixStreamServer(path, Handler).serve_forever()
"""
HUB = """
import sqlite3, sys
database = sqlite3.connect("/run/there/hub.sqlite")
columns = [row[1] for row in database.execute("PRAGMA table_info(users)")]
if sys.argv[2] == "later" and "more" not in columns:
    database.execute("ALTER TABLE users ADD COLUMN more")
elif sys.argv[2] == "earlier" and "more" in columns:
    sys.exit("a later hub has changed the database")
database.close()
if sys.argv[3] == "broken":
    sys.exit("no such table: users")
"""
BROKEN = ("python3", "-c", "print('no such table: users'); raise SystemExit(4)")


@pytest.fixture
def plain(engine: dockerd.Dockerd, tmp_path: Path) -> Iterator[Container]:
    """Answers on a socket in ``tmp_path``."""
    made = Container(
        own("box"),
        dockerd.BASE,
        ("python3", "-c", SERVE, "404"),
        mounts=((str(tmp_path), "/run/there", "rw"),),
        stop_grace=5,
        ready=str(tmp_path / "socket"),
        impact="the hub is away for some seconds",
    )
    yield made
    for name in three(engine, made):
        engine.docker("rm", "--force", "--volumes", name)


def three(engine: dockerd.Dockerd, container: Container) -> list[str]:
    """What there is of it and of the two that may be beside it."""
    listed = engine.docker("ps", "--all", "--filter", f"name={container.name}", "--format", "{{.Names}}")
    return sorted(listed.split())


def serves(engine: dockerd.Dockerd, container: Container) -> None:
    """This version runs, nothing else is there, and the engine keeps it running."""
    assert three(engine, container) == [container.name]
    found = engine.inspect(container.name)
    assert found["State"]["Status"] == "running"
    assert found["Config"]["Labels"]["hubfleet.fingerprint"] == container.fingerprint
    assert found["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert container.diff(look(container)) is None


def test_it_starts_is_replaced_when_it_differs_and_is_removed(engine: dockerd.Dockerd, plain: Container) -> None:
    assert converge(plain) == Change(plain, "start", ("not running",))
    serves(engine, plain)
    first = engine.inspect(plain.name)["Id"]
    assert converge(plain) is None
    other = replace(plain, depends=("1",))
    change = converge(other)
    assert change
    assert (change.action, change.impact) == ("restart", "the hub is away for some seconds")
    serves(engine, other)
    assert engine.inspect(plain.name)["Id"] != first
    engine.docker("stop", plain.name)
    change = converge(other)
    assert change
    assert (change.action, change.detail) == ("start", ("it ended",))
    remove(other)
    assert three(engine, plain) == []


def test_it_has_no_privileges_but_those_that_are_named(engine: dockerd.Dockerd, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("hello")
    (tmp_path / "note").chmod(0o644)
    tmp_path.chmod(0o755)
    strict = Container(
        own("strict"),
        dockerd.BASE,
        ("sleep", "600"),
        environment={"GREETING": "hello all"},
        directory="/srv",
        user="daemon",
        groups=("mail",),
        mounts=((str(tmp_path), "/given", "ro"),),
        tmpfs=(("/scratch", 1024 * 1024),),
        capabilities=("NET_BIND_SERVICE",),
        memory=64 * 1024 * 1024,
        processes=20,
        stop_grace=0,
    )
    try:
        converge(strict)
        run = ("exec", strict.name)
        status = dict(line.split(":\t") for line in engine.docker(*run, "cat", "/proc/1/status").splitlines())
        entry = pwd.getpwnam("daemon")
        assert (status["Uid"].split()[0], status["Gid"].split()[0]) == (str(entry.pw_uid), str(entry.pw_gid))
        assert str(grp.getgrnam("mail").gr_gid) in status["Groups"].split()
        assert status["CapBnd"] == f"{1 << 10:016x}"
        assert status["NoNewPrivs"] == "1"
        assert engine.docker(*run, "sh", "-c", "echo $GREETING; pwd; cat /given/note") == "hello all\n/srv\nhello"
        for place in ("/given/x", "/x", "/var/x"):
            assert "Read-only file system" in engine.docker(
                "exec", "--user", "0", strict.name, "touch", place, check=False
            )
        assert "No space left" in engine.docker(*run, "sh", "-c", "head -c 2M /dev/zero > /scratch/x", check=False)
        assert engine.docker(*run, "ls", "/sys/class/net") == "lo"
        host = engine.inspect(strict.name)["HostConfig"]
        assert (host["Memory"], host["PidsLimit"]) == (64 * 1024 * 1024, 20)
        assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    finally:
        engine.docker("rm", "--force", strict.name, check=False)


def test_a_port_of_the_machine_leads_into_it(engine: dockerd.Dockerd) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = ("python3", "-m", "http.server", "8000")
    web = Container(own("web"), dockerd.BASE, argv, network="bridge", ports=(("127.0.0.1", port, 8000),), stop_grace=0)
    try:
        converge(web)
        soon(lambda: socket.create_connection(("127.0.0.1", port), timeout=2).close() is None)
    finally:
        engine.docker("rm", "--force", web.name, check=False)


def test_its_own_check_of_health_decides_when_it_is_up(
    engine: dockerd.Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ("sh", "-c", "sleep 3; touch /tmp/up; sleep 600")
    well = Container(
        own("well"), dockerd.BASE, argv, tmpfs=(("/tmp", 4096),), health=("test", "-e", "/tmp/up"), stop_grace=0
    )
    ill = replace(well, health=("false",))
    try:
        converge(well)
        assert engine.inspect(well.name)["State"]["Health"]["Status"] == "healthy"
        monkeypatch.setattr(container_agent, "READY_LIMIT_S", 2.0)
        with pytest.raises(ApplyError, match="The earlier one serves again"):
            converge(ill)
        serves(engine, well)
    finally:
        engine.docker("rm", "--force", well.name, check=False)


def test_a_new_one_that_does_not_come_up_leaves_the_earlier_one_serving(
    engine: dockerd.Dockerd, plain: Container
) -> None:
    """And it is not waited for to the end: it has ended three times."""
    converge(plain)
    began = time.monotonic()
    with pytest.raises(ApplyError) as caught:
        converge(replace(plain, argv=BROKEN))
    assert time.monotonic() - began < container_agent.READY_LIMIT_S / 2
    assert f"{plain.name} does not come up. The end of its log:\n    no such table: users" in caught.value.what
    assert caught.value.state == "The earlier one serves again"
    serves(engine, plain)
    with pytest.raises(ApplyError, match=r"no-such-program.*The earlier one serves again") as caught:
        converge(replace(plain, argv=("/no-such-program",)))
    serves(engine, plain)


def test_an_earlier_one_gets_back_the_files_it_was_started_with(
    engine: dockerd.Dockerd, plain: Container, tmp_path: Path
) -> None:
    """Settings that the new one cannot read, most likely, the earlier one cannot read either."""
    path = tmp_path / "settings"
    program = (
        *plain.argv[:2],
        f"word = open('/run/there/settings').read(); assert word in ('good', 'better'), word\n{SERVE}",
    )

    def reading(word: str) -> tuple[File, Container]:
        file = File(str(path), word, returns=True)
        return file, replace(plain, argv=(*program, "404"), depends=(file.sha256,), reads=(file.path,))

    for resource in (good := reading("good")):
        converge(resource)
    converge(reading("bad")[0])  # and a kill comes before the container is replaced
    worse = reading("worse")
    converge(worse[0])
    with pytest.raises(ApplyError, match="The earlier one serves again"):
        converge(worse[1])
    serves(engine, good[1])
    assert path.read_text() == "good"
    for resource in (better := reading("better")):
        converge(resource)
    serves(engine, better[1])
    assert {one.name for one in tmp_path.iterdir()} == {"settings", "socket"}


def test_a_server_error_is_not_an_answer(
    engine: dockerd.Dockerd, plain: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_agent, "READY_LIMIT_S", 2.0)
    with pytest.raises(ApplyError, match="serving"):
        converge(replace(plain, argv=("python3", "-c", SERVE, "503")))
    assert three(engine, plain) == []


def test_what_the_engine_refuses_is_refused_while_the_earlier_one_serves(
    engine: dockerd.Dockerd, plain: Container
) -> None:
    converge(plain)
    started = engine.inspect(plain.name)["State"]["StartedAt"]
    with pytest.raises(ApplyError, match=r"Docker: .*/no/such/place"):
        converge(replace(plain, mounts=(("/no/such/place", "/x", "rw"), *plain.mounts)))
    with pytest.raises(ApplyError, match="no-such-account"):
        converge(replace(plain, user="no-such-account"))
    serves(engine, plain)
    assert engine.inspect(plain.name)["State"]["StartedAt"] == started


def test_somebody_elses_container_is_left_alone(engine: dockerd.Dockerd, plain: Container) -> None:
    engine.docker("run", "--detach", "--name", plain.name, "--network", "none", dockerd.BASE, "sleep", "600")
    with pytest.raises(CheckError, match="that hubfleet did not make"):
        converge(plain)
    assert plain.removal(look(plain)) is None
    assert engine.inspect(plain.name)["State"]["Running"]
    engine.docker("rename", plain.name, f"{plain.name}-next")
    with pytest.raises(ApplyError, match=r"Docker: .*already in use"):
        converge(plain)
    assert engine.inspect(f"{plain.name}-next")["State"]["Running"]


def test_one_that_ran_before_is_kept_when_it_does_not_come_up_again(
    engine: dockerd.Dockerd, plain: Container, tmp_path: Path
) -> None:
    program = "import os; assert not os.path.exists('/run/there/full'), 'disk full'"
    moody = replace(plain, argv=("python3", "-c", program + SERVE, "404"))
    converge(moody)
    made = engine.inspect(plain.name)["Id"]
    (tmp_path / "full").touch()
    engine.docker("stop", plain.name)
    with pytest.raises(ApplyError, match=r"disk full(.|\n)*It is the one that ran before: it was kept"):
        converge(moody)
    assert engine.inspect(plain.name)["Id"] == made
    (tmp_path / "full").unlink()
    soon(lambda: moody.diff(look(moody)) is None)  # the engine kept trying


def test_one_that_runs_under_another_number_than_its_account_has_now_is_replaced(
    engine: dockerd.Dockerd, plain: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    converge(plain)
    monkeypatch.setattr(container_agent, "numbers", lambda container: ("12345:12345", []))
    change = plain.diff(look(plain))
    assert change
    assert change.action == "restart"


def test_a_replacement_that_was_killed_at_its_end_is_not_done_again(
    engine: dockerd.Dockerd, plain: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    converge(plain)
    other = replace(plain, depends=("other",))
    change = other.diff(look(other))
    assert change
    words = ["create", "stop", "update", "rename", "rename", "start", "stop", "delete"]
    assert killed_at(len(words), other, change, monkeypatch)
    made = engine.inspect(plain.name)["Id"]
    change = converge(other)
    assert change
    assert change.detail == (f"left by an interrupted change: {plain.name}-previous",)
    serves(engine, other)
    assert engine.inspect(plain.name)["Id"] == made


def hub(plain: Container, tmp_path: Path, form: str, end: str = "well") -> Container:
    """As ``plain``, and with a database: a later one changes it, and an earlier one cannot read that."""
    paths = str(tmp_path / "hub.sqlite"), str(tmp_path / "hub.sqlite.before")
    argv = ("python3", "-c", HUB + SERVE, "404", form, end)
    return replace(plain, argv=argv, database=paths[0], database_copy=paths[1], stop_grace=1)


def people(tmp_path: Path) -> list[str]:
    with closing(sqlite3.connect(tmp_path / "hub.sqlite")) as database:
        return [name for (name,) in database.execute("SELECT name FROM users")]


def add(tmp_path: Path, name: str) -> None:
    with closing(sqlite3.connect(tmp_path / "hub.sqlite")) as database:
        database.execute("CREATE TABLE IF NOT EXISTS users (name)")
        database.execute("INSERT INTO users (name) VALUES (?)", (name,))
        database.commit()


def test_an_earlier_one_gets_back_the_database_that_a_later_one_has_changed(
    engine: dockerd.Dockerd, plain: Container, tmp_path: Path
) -> None:
    add(tmp_path, "ada")
    earlier, later = hub(plain, tmp_path, "earlier"), hub(plain, tmp_path, "later")
    converge(earlier)
    add(tmp_path, "bob")
    with pytest.raises(ApplyError, match=r"no such table(.|\n)*The earlier one serves again"):
        converge(hub(plain, tmp_path, "later", "broken"))
    serves(engine, earlier)
    assert people(tmp_path) == ["ada", "bob"]
    assert "hub.sqlite.before" not in {one.name for one in tmp_path.iterdir()}
    converge(later)
    serves(engine, later)
    assert people(tmp_path) == ["ada", "bob"]
    assert "hub.sqlite.before" not in {one.name for one in tmp_path.iterdir()}


def test_what_people_did_where_a_killed_change_had_led_is_not_lost(
    engine: dockerd.Dockerd, plain: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, "ada")
    later = hub(plain, tmp_path, "later")
    converge(hub(plain, tmp_path, "earlier"))
    change = later.diff(look(later))
    assert change
    words = ["create", "stop", "update", "rename", "rename", "start", "stop"]
    assert killed_at(len(words), later, change, monkeypatch)
    assert len(three(engine, plain)) == 2
    soon(lambda: later.diff(look(later)).detail[0].startswith("left by"))
    add(tmp_path, "bob")
    other = replace(later, depends=("other",))
    converge(other)
    serves(engine, other)
    assert people(tmp_path) == ["ada", "bob"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("end", ["well", "broken"])
def test_killed_at_any_word_to_the_engine_the_database_fits_who_serves(
    engine: dockerd.Dockerd, plain: Container, tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_agent, "_DEATHS", 1)
    earlier, later = hub(plain, tmp_path, "earlier"), hub(plain, tmp_path, "later", end)
    moment, killed = 0, True
    while killed:
        moment += 1
        (tmp_path / "hub.sqlite").unlink(missing_ok=True)
        add(tmp_path, "ada")
        converge(earlier)
        change = later.diff(look(later))
        assert change
        killed = killed_at(moment, later, change, monkeypatch)
        if end == "well":
            converge(later)
            serves(engine, later)
        else:
            with pytest.raises(ApplyError, match="The earlier one serves again"):
                converge(later)
            serves(engine, earlier)
        assert people(tmp_path) == ["ada"]
        remove(later)
    assert moment > 5


class Killed(BaseException):
    """Stands for the end of the agent: nothing of its own runs after it."""


def killed_at(moment: int, resource: Container, change: Change, patch: pytest.MonkeyPatch) -> bool:
    """Apply a change by an agent that ends before its `moment`-th word to the engine; whether it came to that."""
    call, told = Engine.call, 0

    def counted(self: Engine, method: str, *rest: Any, **more: Any) -> Any:
        nonlocal told
        if method != "GET":
            told += 1
            if told == moment:
                raise Killed
        return call(self, method, *rest, **more)

    with patch.context() as patched:
        patched.setattr(Engine, "call", counted)
        try:
            agent.apply(change, lambda line: None)
        except Killed:
            return True
        except ApplyError:
            return False
    return False


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", ["first", "another", "broken", "back", "broken and back", "removed"])
def test_killed_at_any_word_to_the_engine_the_next_one_puts_things_right(
    engine: dockerd.Dockerd, plain: Container, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """back: after the kill, what was there before is wanted again."""
    monkeypatch.setattr(container_agent, "_DEATHS", 1)
    plain = replace(plain, stop_grace=1)
    other = replace(plain, depends=("other",), argv=BROKEN if scenario.startswith("broken") else plain.argv)
    moment, killed = 0, True
    while killed:
        moment += 1
        if scenario != "first":
            converge(plain)
        now = look(plain)
        change = plain.removal(now) if scenario == "removed" else (plain if scenario == "first" else other).diff(now)
        assert change
        killed = killed_at(moment, plain, change, monkeypatch)
        if scenario == "broken":
            with pytest.raises(ApplyError, match="The earlier one serves again"):
                converge(other)
            serves(engine, plain)
        elif scenario == "another":
            converge(other)
            serves(engine, other)
        elif scenario == "removed":
            if look(plain):
                remove(plain)
            assert three(engine, plain) == []
        else:
            converge(plain)
            serves(engine, plain)
        if scenario == "first":
            remove(plain)
    assert moment > 2  # it did fall into each step
