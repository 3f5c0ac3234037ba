"""Servers that nobody uses are stopped, each after its own limit; a running cell or program is use.

The limits are in minutes, so the test lets a second stand for a minute: the limits that the hub has noted beside each
running server are divided by 60, and the hub reads them anew. Servers, kernels, terminals and the culler are real.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator

import pytest
import websocket
from harness import Person, RunningHub, await_that

import needs

pytestmark = needs.root()

SCALE = 60
MARGIN_S = 8  # between one server's last activity and another's


def terminal(person: Person, command: str) -> None:
    """Open a terminal, type a command, and wait until it has been run."""
    name = person.jupyter("POST", "/api/terminals").json()["name"]
    url = f"{person.hub.url.replace('http', 'ws')}/user/{person.name}/terminals/websocket/{name}"
    channel = websocket.create_connection(url, header=[f"Authorization: token {person.token}"], timeout=30)
    channel.send(json.dumps(["stdin", f"{command}\n"]))
    seen = ""
    while "READY-42" not in seen:
        kind, *rest = json.loads(channel.recv())
        seen += rest[0] if kind == "stdout" else ""
    channel.close()


def noted_limits(hub: RunningHub) -> dict[str, float | None]:
    """What the hub has noted: user and server -> the idle limit of a server that runs, in seconds."""
    with sqlite3.connect(hub.state / "hub" / "jupyterhub.sqlite", timeout=30) as database:
        rows = database.execute(
            "select users.name, spawners.name, spawners.state from spawners join users on users.id = spawners.user_id"
        ).fetchall()
    states = {f"{user}/{server}": json.loads(state or "{}") for user, server, state in rows}
    return {name: state["stop_after_idle"] for name, state in states.items() if state.get("launched")}


def shorten_limits(hub: RunningHub) -> None:
    """Divide the noted limits, and have the hub read them again (it is killed, and comes back)."""
    with sqlite3.connect(hub.state / "hub" / "jupyterhub.sqlite", timeout=30) as database:
        for key, text in database.execute("select id, state from spawners").fetchall():
            state = json.loads(text or "{}")
            if state.get("stop_after_idle"):
                state["stop_after_idle"] /= SCALE
                database.execute("update spawners set state = ? where id = ?", (json.dumps(state), key))
    database.close()
    killed = hub.pid("hub")
    os.kill(killed, signal.SIGKILL)
    await_that("the hub is back", lambda: hub.pid("hub") != killed and hub.answers(), 60)


@pytest.fixture
def culler(profiles_hub: RunningHub) -> Iterator[subprocess.Popen[bytes]]:
    """The hub's culler, once more, looking every second instead of every minute."""
    python = next((profiles_hub.state / "environments").glob("hub-*/bin/python"))
    tokens = json.loads((profiles_hub.state / "secrets" / "tokens.json").read_text())
    process = subprocess.Popen(
        [python, "-m", "hubfleet.hub.culler", "--url=http://hub/hub/api", "--cull-every=1"],
        env={
            "PATH": os.defpath,
            "JUPYTERHUB_API_TOKEN": tokens["culler_token"],
            "HUBFLEET_HUB_SOCKET": str(profiles_hub.state / "run" / "hub" / "hub.sock"),
        },
        cwd="/",
    )
    yield process
    process.kill()
    process.wait()


def begin(person: Person, profile: str | None = None) -> None:
    answer = person.api("POST", f"/users/{person.name}/server", json={"profile": profile} if profile else {})
    assert answer.status_code in (201, 202), answer.text


def running(admin: Person) -> set[str]:
    users = admin.api("GET", "/users", params={"limit": "200"}).json()
    return {user["name"] for user in users if any(server["ready"] for server in user["servers"].values())}


def test_what_is_idle_is_stopped_after_its_own_limit_and_what_is_busy_is_not(
    profiles_hub: RunningHub, request: pytest.FixtureRequest
) -> None:
    hub, admin = profiles_hub, profiles_hub.admin()
    names = ("idle", "busy-cell", "busy-program", "never", "tess")
    idle, cell, program, never, _ = people = [hub.person(name) for name in names]
    for person in people:
        begin(person, "long" if person is never else None)
    for person in people:
        assert person.progress()[-1]["ready"]
    limits = noted_limits(hub)
    assert [limits[f"{name}/"] for name in names] == [1800, 1800, 1800, None, 1200]

    for person in people:
        kernel = person.kernel()
        assert kernel.run("print('done')") == "done\n"
        if person is cell:
            kernel.send("import time; time.sleep(1000)")
        kernel.close()  # nobody has a page open
    terminal(idle, "echo READY-$((40 + 2))")
    terminal(program, "echo READY-$((40 + 2)); sleep 1000")

    shorten_limits(hub)
    since = time.monotonic()
    request.getfixturevalue("culler")
    gone: dict[str, float] = {}

    def look() -> dict[str, float]:
        for name in set(names) - running(admin) - gone.keys():
            gone[name] = time.monotonic() - since
        return gone

    await_that("the idle ones are stopped", lambda: {"idle", "tess"} <= look().keys(), 120)
    # Those that are busy have been so for as long: were that no use of theirs, they would be gone now as well.
    await_that("a while passes", lambda: look() and time.monotonic() - since > gone["idle"] + MARGIN_S)
    assert gone.keys() == {"idle", "tess"}
    assert gone["tess"] < gone["idle"]
    for person in (cell, program, never):
        person.stop()
