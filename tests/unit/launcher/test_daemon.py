"""The launcher as a process, with small programs in the place of Jupyter: what it finds again after its own end."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import needs
from hubfleet.config import default_config
from hubfleet.config.owner import MINIMUM
from hubfleet.engines.local.processes import ProcessHandle
from hubfleet.homes import HOMES_MARKER
from hubfleet.homes.settings import Limits
from hubfleet.homes.settings import settings as homes_kept
from hubfleet.layout import Layout
from hubfleet.unixhttp import Refused, request
from waiting import soon

PROGRAM = f"""#!{sys.executable}
import os, socket, sys, time
way = os.environ.get("JUPYTERHUB_WAY", "")
if way:
    print(way, flush=True)
    sys.exit(3)
path = next(word.partition("=")[2] for word in sys.argv if word.startswith("--ServerApp.sock="))
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(path)
    listening.listen()
    time.sleep(600)
"""


class Site:
    """A launcher, its settings and its state."""

    def __init__(self, base: Path, account: str = "") -> None:
        self.layout = Layout("h", base, False)
        self.environment = base / "environment"
        self.program = self.environment / "bin" / "jupyterhub-singleuser"
        self.records = self.layout.launcher_dir / "servers"
        self.log = base / "launcher.log"
        self.process: subprocess.Popen[bytes] | None = None
        for folder in (self.layout.launcher_socket.parent, self.layout.servers_run, self.records, self.layout.homes):
            folder.mkdir(parents=True)
        (self.layout.homes / HOMES_MARKER).touch()
        (self.environment / "lib" / "python3" / "site-packages" / "hubfleet_singleuser").mkdir(parents=True)
        self.program.parent.mkdir()
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        common = {"hub": "h", "base": str(base), "privileged": False, "hub_account": account}
        paths = {"environment": str(self.environment), "interpreter": "/usr"}
        keeper = homes_kept(self.layout.homes, None, MINIMUM, Limits())
        settings = {
            **common,
            "config": default_config().dump(),
            "engine": {**common, **paths, "keeper": keeper, "hide": [], "distributions": [], "variables": {}},
        }
        (base / "launcher.json").write_text(json.dumps(settings))

    def start(self) -> None:
        command = [sys.executable, "-m", "hubfleet.launcher.daemon", str(self.layout.base / "launcher.json")]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        soon(self.answers)

    def answers(self) -> bool:
        try:
            self.ask("GET", "/v1/health")
        except OSError:
            return False
        return True

    def end(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)
        self.process.wait(20)

    def ask(self, method: str, target: str, body: Any = None) -> Any:
        return request(self.layout.launcher_socket, method, target, body)

    def start_server(self, user: str, **environment: str) -> dict[str, Any]:
        """The last line of the stream that a start answers with."""
        with self.asking({"user": user, "environment": environment}) as connection:
            answer = connection.getresponse().read().decode()
        last: dict[str, Any] = json.loads(answer.splitlines()[-1])
        return last

    def stop_all(self) -> None:
        for user in self.users():
            self.ask("POST", "/v1/stop", {"user": user})

    @contextmanager
    def asking(self, body: Any) -> Iterator[http.client.HTTPConnection]:
        """Ask for a server; the one who asks is gone at the end of the block."""
        connection = http.client.HTTPConnection("launcher")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.layout.launcher_socket))
        connection.request("POST", "/v1/start", json.dumps(body))
        yield connection
        connection.close()

    def users(self) -> list[str]:
        return [entry["user"] for entry in self.ask("GET", "/v1/servers")["servers"]]

    def status(self, user: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.ask("POST", "/v1/status", {"user": user})
        return answer

    def record(self, user: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.records / f"{user}.json").read_text())
        return record

    def handle(self, user: str) -> ProcessHandle:
        return ProcessHandle.from_json(self.record(user)["handle"])


@pytest.fixture(scope="module")
def site_of_module() -> Iterator[Site]:
    site = Site(Path(tempfile.mkdtemp(prefix="hfl", dir="/tmp")))
    site.start()
    yield site
    site.end(signal.SIGTERM)
    shutil.rmtree(site.layout.base)
    shutil.rmtree(site.layout.run, ignore_errors=True)


@pytest.fixture
def site(site_of_module: Site) -> Iterator[Site]:
    """A running launcher without servers."""
    site = site_of_module
    yield site
    if site.process and site.process.poll() is not None:
        site.start()
    site.stop_all()
    site.program.write_text(PROGRAM)
    site.program.chmod(0o755)
    for path in site.records.iterdir():
        path.unlink()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_servers_outlive_the_launcher_and_are_found_again(site: Site, number: signal.Signals) -> None:
    url = site.start_server("ada")["url"]
    handle = site.handle("ada")
    site.end(number)
    assert handle.alive()
    site.start()
    assert site.status("ada") == {"state": "running"}
    assert site.record("ada")["url"] == url
    assert handle.alive()
    site.ask("POST", "/v1/stop", {"user": "ada"})
    assert not handle.alive()
    assert site.status("ada")["why"] == "it was stopped"
    assert not Path(unquote(url.removeprefix("http+unix://"))).exists()


def test_a_server_that_ended_while_nobody_watched_is_found_ended(site: Site) -> None:
    for user in ("ada", "ben"):
        site.start_server(user)
    site.end(signal.SIGKILL)
    site.handle("ben").signal(signal.SIGKILL)
    site.start()
    soon(lambda: site.users() == ["ada"])
    assert site.status("ada") == {"state": "running"}
    ended = site.status("ben")
    assert ended["state"] == "stopped"
    assert "it ended while nobody was watching" in ended["why"]
    assert [path.name for path in site.records.iterdir()] == ["ada.json"]


def test_a_server_that_ends_under_the_launchers_eyes_has_its_reason(site: Site) -> None:
    site.start_server("ada")
    os.kill(site.handle("ada").pid, signal.SIGKILL)
    soon(lambda: site.users() == [])
    assert site.status("ada") == {"state": "stopped", "code": -9, "why": "it was ended by signal SIGKILL"}


def test_damaged_records_are_set_aside_and_the_others_are_adopted(site: Site) -> None:
    site.start_server("ada")
    site.end(signal.SIGKILL)
    damages = ["", "{", "[]", '{"id": "x"}', "\0\0\0\0"]
    for number, damage in enumerate(damages):
        (site.records / f"{number}.json").write_text(damage)
    site.start()
    assert site.users() == ["ada"]
    assert site.status("ada") == {"state": "running"}
    assert [(site.records / f"{number}.damaged").read_text() for number in range(len(damages))] == damages
    assert f"{site.records}/1.json: cannot be read" in site.log.read_text()


def test_a_reused_process_id_is_not_taken_for_the_server(site: Site) -> None:
    site.start_server("ada")
    site.end(signal.SIGKILL)
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        own = ProcessHandle.of(bystander.pid).to_json()
        for name, wrong in (("eve", {"start": 1}), ("eva", {"boot": "another"})):
            stray = {**site.record("ada"), "id": name, "user": name, "handle": {**own, **wrong}}
            (site.records / f"{name}.json").write_text(json.dumps(stray))
        site.start()
        soon(lambda: site.users() == ["ada"])
        assert [site.status(name)["state"] for name in ("eve", "eva")] == ["stopped", "stopped"]
        site.stop_all()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_the_reason_of_a_failed_start_is_its_own(site: Site) -> None:
    said = site.start_server("ada", JUPYTERHUB_WAY="no module named jupyterlab")
    assert said == {"error": "it exited with code 3. It said last: no module named jupyterlab"}
    site.program.write_text("#!/bin/sh\nexit 4\n")
    assert site.start_server("ada") == {"error": "it exited with code 4. It said last: nothing"}
    site.program.unlink()
    assert "could not set up the sandbox: [Errno 2]" in site.start_server("ada")["error"]
    assert site.users() == []
    assert list(site.records.iterdir()) == []
    assert list(site.layout.servers_run.iterdir()) == []


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("environment/lib", "is not whole; an administrator has to run"),
        ("h/homes", "your home directory could not be made: Not a directory"),
    ],
)
def test_what_is_not_there_is_named(site: Site, broken: str, says: str) -> None:
    place = site.layout.base / broken
    place.rename(place.with_suffix(".away"))
    place.write_text("not a directory")
    try:
        assert says in site.start_server("ada")["error"]
        assert list(site.layout.servers_run.iterdir()) == []
    finally:
        place.unlink()
        place.with_suffix(".away").rename(place)


def test_a_second_start_replaces_the_first(site: Site) -> None:
    site.start_server("ada")
    first = site.handle("ada")
    site.start_server("ada")
    assert not first.alive()
    assert site.handle("ada").alive()
    assert site.users() == ["ada"]


def test_a_server_that_nobody_waits_for_any_more_is_stopped_again(site: Site) -> None:
    site.program.write_text(PROGRAM.replace("with socket", "time.sleep(1)\nwith socket"))
    with site.asking({"user": "ada"}):
        soon(lambda: (site.records / "ada.json").exists())
        assert site.ask("GET", "/v1/servers")["starting"]
        begun = site.handle("ada")
        assert begun.alive()
    soon(lambda: not begun.alive())
    soon(lambda: site.status("ada")["state"] == "stopped")
    soon(lambda: site.users() == [])


def test_a_server_that_was_being_started_when_the_launcher_died_is_stopped(site: Site) -> None:
    site.program.write_text(PROGRAM.replace("with socket", "time.sleep(30)\nwith socket"))
    with site.asking({"user": "ada"}):
        soon(lambda: (site.records / "ada.json").exists())
        begun = site.handle("ada")
        site.end(signal.SIGKILL)
    assert begun.alive()
    site.start()
    assert not begun.alive()
    assert site.users() == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"user": "ada", "cmd": "sh"}, "may not be asked for: cmd"),
        ({"user": ""}, "'user' must be a name"),
        ({"user": "ada", "environment": {"LD_PRELOAD": "/x"}}, "environment variable 'LD_PRELOAD' may not be set"),
    ],
)
def test_what_may_not_be_asked_is_refused(site: Site, body: dict[str, Any], says: str) -> None:
    with pytest.raises(Refused, match=says) as caught:
        site.ask("POST", "/v1/start", body)
    assert caught.value.status == 400
    assert site.users() == []


# -- homes -----------------------------------------------------------------------------------------------------------


def test_homes_are_told_of_and_put_away_when_nobody_writes_there(site: Site) -> None:
    assert site.start_server("ada")["url"]
    told = {home["name"]: home for home in site.ask("GET", "/v1/homes")["homes"]}
    assert told["ada"]["path"] == str(site.layout.homes / "ada")
    assert told["ada"]["used"] is not None
    assert site.ask("POST", "/v1/home", {"user": "ada"}) == {"used": None, "limit": None}
    assert site.ask("POST", "/v1/home", {"user": "nobody-yet"}) == {"used": None, "limit": None}
    with pytest.raises(Refused, match=r"ada has a server \(ada\), which writes there; stop it first"):
        site.ask("POST", "/v1/archive", {"user": "ada"})
    assert (site.layout.homes / "ada").exists()
    site.ask("POST", "/v1/stop", {"user": "ada"})
    done = site.ask("POST", "/v1/archive", {"user": "ada"})
    assert (done["done"], Path(done["tar"]).exists()) == (True, True)
    assert not (site.layout.homes / "ada").exists()
    with pytest.raises(Refused, match="there is no home"):
        site.ask("POST", "/v1/archive", {"user": "ada"})
    assert site.start_server("ada")["url"]


_AS_THE_HUB = """
import encodings.idna, http.client, os, pwd, socket, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from hubfleet.unixhttp import Refused, request
account = pwd.getpwnam("daemon")
os.setgroups([]); os.setgid(account.pw_gid); os.setuid(account.pw_uid)
for method, target, body in (
    ("GET", "/v1/servers", None),
    ("POST", "/v1/home", {"user": "ada"}),
    ("GET", "/v1/homes", None),
    ("POST", "/v1/archive", {"user": "ada"}),
):
    try:
        request(Path(sys.argv[1]), method, target, body)
        print(target, 200)
    except Refused as refused:
        print(target, refused.status, refused)
"""


@needs.root()
def test_the_hub_learns_how_full_a_home_is_and_can_put_none_away() -> None:
    site = Site(Path(tempfile.mkdtemp(prefix="hfl", dir="/tmp")), account="daemon")
    try:
        site.start()
        assert site.start_server("ada")["url"]
        site.stop_all()
        for folder in (site.layout.base, site.layout.state, site.layout.run, site.layout.launcher_socket.parent):
            folder.chmod(0o711)
        site.layout.launcher_socket.chmod(0o666)
        command = [sys.executable, "-c", _AS_THE_HUB, str(site.layout.launcher_socket), *sys.path]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert said == [
            "/v1/servers 200",
            "/v1/home 200",
            "/v1/homes 403 only the machine's operator may ask",
            "/v1/archive 403 only the machine's operator may ask",
        ]
        assert (site.layout.homes / "ada").exists()
    finally:
        site.end(signal.SIGTERM)
        shutil.rmtree(site.layout.base)
        shutil.rmtree(site.layout.run, ignore_errors=True)
