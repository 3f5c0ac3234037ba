"""Trying out a new generation on a real engine: toys in place of hub, proxy, launcher and test user."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import dockerd
import pytest
from converging import converge, look, own, remove

import needs
from hubfleet.errors import ApplyError
from hubfleet.resources import Container, Directory, File, Trial
from waiting import soon

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.usefixtures("reach"),
]

SERVE = """
import http.server, os, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words):
        pass
print("serving", os.path.basename(sys.argv[1]), flush=True)
socketserver.UnixStreamServer(sys.argv[1], Handler).serve_forever()
"""
PERSON = """
import json, sys
token, known = open(sys.argv[1]).read().split()
assert token == known and len(token) == 64, "the same mark is the same secret"
for step in ("login", "start", "assets", "output", "done", "save"):
    print(json.dumps({"done": step}), flush=True)
print(json.dumps({"passed": True}))
"""
DIES = ("python3", "-c", "print('no such setting: colour'); raise SystemExit(1)")
SLEEPS = ("python3", "-c", 'print(\'{"done": "login"}\', flush=True); import time; time.sleep(300)')


def failing(step: str, why: str) -> tuple[str, ...]:
    return ("python3", "-c", f"print({json.dumps(json.dumps({'failed': step, 'why': why}))})")


@pytest.fixture
def trial(engine: dockerd.Dockerd, tmp_path: Path) -> Iterator[Trial]:
    hub, place = own("hub"), tmp_path / "second"
    common: dict[str, Any] = {"image": dockerd.BASE, "network": "none", "mounts": ((str(place), str(place), "rw"),)}

    def part(name: str) -> Container:
        socket = str(place / f"{name}.sock")
        return Container(f"{hub}_try-{name}", argv=("python3", "-c", SERVE, socket), ready=socket, **common)

    made = Trial(
        hub=hub,
        serving=f"{hub}-hub",
        beside=f"{hub}_try",
        place=str(place),
        note=str(tmp_path / "note"),
        database=str(tmp_path / "hub.sqlite"),
        copy=str(place / "hub" / "hub.sqlite"),
        logs=str(place / "logs"),
        directories=tuple(Directory(str(place / name), "root", "root", 0o700) for name in ("", "hub", "logs")),
        files=(File(str(place / "token"), "@@token@@ @@token@@", "root", "root", 0o600, secret=True),),
        containers=(part("proxy"), part("launcher"), part("hub")),
        person=Container(f"{hub}_try-person", argv=("python3", "-c", PERSON, str(place / "token")), **common),
    )
    yield made
    for name in names(engine, made):
        engine.docker("rm", "--force", "--volumes", name)


def names(engine: dockerd.Dockerd, trial: Trial) -> list[str]:
    return engine.docker("ps", "--all", "--format", "{{.Names}}", "--filter", f"name={trial.hub}").split()


def gone(engine: dockerd.Dockerd, trial: Trial) -> bool:
    return names(engine, trial) == [] and not Path(trial.place).exists()


def failure(trial: Trial) -> str:
    with pytest.raises(ApplyError) as raised:
        converge(trial)
    return str(raised.value)


def test_one_that_passes_is_noted_and_gone(engine: dockerd.Dockerd, trial: Trial) -> None:
    said: list[str] = []
    assert converge(trial, said)
    assert said == [
        "starting a second hub beside the one that serves",
        "a test user logs in there",
        "the test user: logged in; starting a server",
        "the test user: its server is up; opening JupyterLab",
        "the test user: JupyterLab is open; running a notebook",
        "the test user: the notebook ran, and is saved; stopping the server",
    ]
    assert gone(engine, trial)
    assert converge(trial) is None, "it is not tried out again"
    assert converge(replace(trial, database="/elsewhere"))
    remove(trial)


def test_a_part_that_ends_is_named_with_its_last_words(engine: dockerd.Dockerd, trial: Trial) -> None:
    first, second, hub = trial.containers
    broken = replace(trial, containers=(first, second, replace(hub, argv=DIES)))
    words = failure(broken)
    assert f"{hub.name} ended. The end of the log of {hub.name}:\n    no such setting: colour" in words
    assert "No part of the hub was started" in words
    assert gone(engine, trial)
    assert look(broken) is None


def test_the_state_tells_whether_the_hub_serves(engine: dockerd.Dockerd, trial: Trial) -> None:
    engine.docker("run", "--detach", "--name", trial.serving, "--network", "none", dockerd.BASE, "sleep", "300")
    words = failure(replace(trial, person=replace(trial.person, argv=failing("login", "HTTP 500"))))
    assert "the test user could not log in: HTTP 500. The end of the log of" in words
    assert "\n    serving hub.sock" in words
    assert "The hub goes on as it was; nothing of it was replaced. Try: mend that, then: hubfleet up" in words
    assert names(engine, trial) == [trial.serving]


def test_what_fails_in_a_server_comes_with_that_servers_log(engine: dockerd.Dockerd, trial: Trial) -> None:
    log = f"open('{trial.logs}/ada.log', 'w').write('no module named zmq\\nhttp://ann:canary@192.0.2.1\\n')"
    broken = ("python3", "-c", f"{log}; {failing('kernel', 'the kernel died')[2]}")
    words = failure(replace(trial, person=replace(trial.person, argv=broken)))
    assert "the notebook's kernel did not start: the kernel died. The end of its server's log:" in words
    assert "\n    no module named zmq\n    http://********@192.0.2.1" in words


def test_a_test_user_who_ends_without_a_word(engine: dockerd.Dockerd, trial: Trial) -> None:
    words = failure(replace(trial, person=replace(trial.person, argv=DIES)))
    assert "the test user ended without a word" in words
    assert "no such setting: colour" in words


def test_one_that_failed_leaves_the_note_of_the_one_that_passed(engine: dockerd.Dockerd, trial: Trial) -> None:
    converge(trial)
    failure(replace(trial, person=replace(trial.person, argv=DIES)))
    assert converge(trial) is None


KILLED = """
import json, sys
from hubfleet.agent import converge as agent
from hubfleet.resources import from_json
trial = from_json(json.load(sys.stdin))
agent.apply(trial.diff(agent.observe([trial])[trial.id]), lambda line: None)
"""


def test_one_that_was_killed_is_removed_by_the_next(engine: dockerd.Dockerd, trial: Trial) -> None:
    long = replace(trial, person=replace(trial.person, argv=SLEEPS))
    killed = subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, text=True, env=dict(os.environ))
    assert killed.stdin
    killed.stdin.write(json.dumps(long.to_json()))
    killed.stdin.close()
    soon(lambda: trial.person.name in names(engine, trial), 60)
    label = f"hubfleet.hub={trial.beside}"
    server = f"{trial.hub}-server"
    engine.docker(
        "run", "--detach", "--name", server, "--label", label, "--network", "none", dockerd.BASE, "sleep", "99"
    )
    killed.kill()
    killed.wait()
    assert look(trial) == {"passed": "", "left": True}
    assert converge(trial)
    assert gone(engine, trial), "and so is the test user's server"


def test_it_has_a_copy_of_the_database_and_nobodys_running_server(engine: dockerd.Dockerd, trial: Trial) -> None:
    with closing(sqlite3.connect(trial.database)) as real:
        real.execute("PRAGMA journal_mode=WAL")
        real.execute("CREATE TABLE spawners (name TEXT, server_id INTEGER)")
        real.execute("INSERT INTO spawners VALUES ('ada', 7)")
        real.commit()
        assert Path(f"{trial.database}-wal").stat().st_size, "what is to be copied is in the log beside the database"
        look_inside = f"""
import json, sqlite3
told = sqlite3.connect({trial.copy!r}).execute("SELECT * FROM spawners").fetchall()
print(json.dumps({{"failed": "login", "why": str(told)}}))
"""
        words = failure(replace(trial, person=replace(trial.person, argv=("python3", "-c", look_inside))))
        assert "[('ada', None)]" in words
        assert real.execute("SELECT * FROM spawners").fetchall() == [("ada", 7)]


def test_a_database_that_cannot_be_read(engine: dockerd.Dockerd, trial: Trial) -> None:
    Path(trial.database).write_bytes(b"no database" * 500)
    assert f"the hub's database {trial.database} cannot be copied: file is not a database" in failure(trial)
    assert gone(engine, trial)
