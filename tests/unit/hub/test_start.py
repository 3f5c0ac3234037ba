"""What a start of a server has the hub do. The hub is real; launcher, proxy, server and person are played."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import aiohttp
import pytest
from aiohttp import web
from harness import free_port
from jupyterhub.utils import compare_token

from hubfleet.hub import preflight
from hubfleet.hub.configure import unix_url
from hubfleet.hub.settings import SETTINGS_VARIABLE
from hubfleet.layout import Layout

OPERATOR = "o" * 32
QUEUE_S = 1.5
"""How long the launcher lets the start wait: long enough to tell its beginning from its end."""

NOTING = """
import logging, os
from sqlalchemy import event
from sqlalchemy.engine import Engine

notes = open(os.environ["NOTES"], "a", buffering=1)
make = logging.getLogRecordFactory()

def noting(name, level, *args, **kwargs):
    print("record", logging.getLevelName(level), file=notes)
    return make(name, level, *args, **kwargs)

logging.setLogRecordFactory(noting)

@event.listens_for(Engine, "before_cursor_execute")
def note(connection, cursor, statement, *_):
    print("sql", " ".join(statement.split()), file=notes)

@event.listens_for(Engine, "commit")
def note_commit(connection):
    print("commit", file=notes)

exec(open(os.environ["CONFIG"]).read())
"""


@dataclass
class Seen:
    """What happened: in the hub while one server started, and what its database has afterwards, seen from outside."""

    notes: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    connections: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    from_elsewhere: dict[str, Any] = field(default_factory=dict)
    answered: datetime | None = None
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """The server's own."""
        return self.environment["JUPYTERHUB_API_TOKEN"]


class World:
    """What is around the hub: it asks us to start, to route, and whether a server is there."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.seen = layout, Seen()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        launcher, proxy, server = web.Application(), web.Application(), web.Application()
        launcher.router.add_post("/v1/{verb}", self._launch)
        proxy.router.add_route("*", "/{path:.*}", self._route)
        server.router.add_get("/{path:.*}", self._serve)
        places = (self.layout.launcher_socket, self.layout.proxy_socket, self._server)
        async with contextlib.AsyncExitStack() as stack:
            for app, place in zip((launcher, proxy, server), places, strict=True):
                place.parent.mkdir(parents=True, exist_ok=True)
                runner = web.AppRunner(app)
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                await web.UnixSite(runner, str(place)).start()
            yield

    @property
    def _server(self) -> Path:
        return self.layout.servers_run / "s" / "server.sock"

    async def _launch(self, request: web.Request) -> web.StreamResponse:
        verb, body = request.match_info["verb"], await request.json()
        self.seen.asked.append(verb)
        if verb != "start":
            return web.json_response({"state": "running"})
        self.seen.environment = body["environment"]
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b'{"progress": "Waiting"}\n')
        await asyncio.sleep(QUEUE_S)
        self.seen.answered = datetime.now(timezone.utc).replace(tzinfo=None)
        await answer.write(json.dumps({"url": unix_url(self._server), "stop_after_idle": 600.0}).encode() + b"\n")
        return answer

    async def _route(self, request: web.Request) -> web.Response:
        return web.json_response({}, status=201 if request.method == "POST" else 200)

    async def _serve(self, request: web.Request) -> web.Response:
        return web.json_response({}, headers={"X-JupyterHub-Version": "6"})


async def ask(layout: Layout, method: str, target: str, token: str, body: Any = None) -> str:
    """The hub's API, directly."""
    connector = aiohttp.UnixConnector(str(layout.hub_socket))
    headers = {"Authorization": f"token {token}"}
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
        session.request(method, f"http://hub/hub/api{target}", json=body) as answer,
    ):
        text = await answer.text()
        assert answer.status < 400, text
        return text


async def whoami(seen: Seen) -> dict[str, Any]:
    """What the server is told by the hub, where it was told to ask."""
    headers = {"Authorization": f"token {seen.token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{seen.environment['JUPYTERHUB_API_URL']}/user") as answer,
    ):
        return dict(await answer.json())


async def awaited(question: Callable[[], Awaitable[str]], process: asyncio.subprocess.Process) -> str:
    """The answer of a hub that is coming up."""
    deadline = time.monotonic() + 60
    while True:
        assert process.returncode is None
        assert time.monotonic() < deadline
        with contextlib.suppress(aiohttp.ClientError, OSError):
            return await question()
        await asyncio.sleep(0.1)


async def one_start(layout: Layout, log: IO[bytes]) -> Seen:
    """Run the hub, and have one person start a server."""
    world, notes = World(layout), layout.base / "notes"
    notes.touch()
    (layout.base / "config.py").write_text(NOTING)
    environment = {
        **os.environ,
        SETTINGS_VARIABLE: str(layout.hub_dir / "hub.json"),
        "NOTES": str(notes),
        "CONFIG": str(Path(preflight.__file__).with_name("jupyterhub_config.py")),
    }
    layout.hub_socket.parent.mkdir(parents=True)
    async with world.running():
        process = await asyncio.create_subprocess_exec(
            *preflight.command(layout.base / "config.py"),
            cwd=layout.hub_dir,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            await awaited(lambda: ask(layout, "GET", "/", OPERATOR), process)
            made = await ask(layout, "POST", "/hubfleet/loadtest", OPERATOR, {"people": 1, "seconds": 600})
            person = json.loads(made)["people"][0]
            before = len(notes.read_text().splitlines())
            await ask(layout, "POST", f"/users/{person['name']}/server", person["token"], {})
            events = await ask(layout, "GET", f"/users/{person['name']}/server/progress", person["token"])
            assert '"ready": true' in events, (layout.base / "log").read_text()
            world.seen.notes = notes.read_text().splitlines()[before:]
            world.seen.tables = tables(layout.database)
            world.seen.from_elsewhere = await whoami(world.seen)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()
    return world.seen


def tables(database: Path) -> dict[str, list[dict[str, Any]]]:
    """What somebody else who opens the database finds."""
    with contextlib.closing(sqlite3.connect(database)) as other:
        other.row_factory = sqlite3.Row
        names = [row[0] for row in other.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [dict(row) for row in other.execute(f"SELECT * FROM {name}")] for name in names}


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    """One start. JupyterHub keeps addresses in lower case, so it is not below pytest's directory."""
    base = Path("/tmp") / f"hubfleet-test-{secrets.token_hex(4)}"
    layout = Layout("h", base, False)
    layout.hub_dir.mkdir(parents=True)
    asked = {"hub": "h", "base": str(base), "privileged": False, "address": "127.0.0.1", "port": 1}
    people = {"login_kind": "password", "admins": [], "allow": None, "named_servers": 0}
    settings = {**asked, **people, "homes_kept": True, "isolated": True}
    settings["fleet_address"] = f"127.0.0.1:{free_port()}"
    (layout.hub_dir / "hub.json").write_text(json.dumps(settings))
    words = {"proxy_token": "p" * 32, "operator_token": OPERATOR, "culler_token": "c" * 32, "class_password": "word"}
    (layout.hub_dir / "hub-secrets.json").write_text(json.dumps(words))
    with open(base / "log", "wb") as log:
        yield asyncio.run(one_start(layout, log))
    shutil.rmtree(base)


def statements(seen: Seen, beginning: str, *parts: str) -> list[str]:
    """Statements of the start that begin so and have these parts."""
    found = [note.removeprefix("sql ") for note in seen.notes if note.startswith(f"sql {beginning}")]
    return [statement for statement in found if all(part in statement for part in parts)]


def test_what_is_noted_is_there_for_others(seen: Seen) -> None:
    [server], [spawner] = seen.tables["servers"], seen.tables["spawners"]
    assert server["proto"] == "http+unix"
    assert spawner["server_id"] == server["id"]
    assert json.loads(spawner["state"])["launched"]


def test_a_server_on_another_machine_reaches_the_hub(seen: Seen) -> None:
    """The hub's own parts go on by its Unix socket."""
    address = seen.environment["JUPYTERHUB_API_URL"]
    assert address.startswith("http://127.0.0.1:")
    assert seen.environment["JUPYTERHUB_ACTIVITY_URL"].startswith(f"{address}/users/")
    assert seen.from_elsewhere["kind"] == "user"


def test_no_transaction_begins_with_a_question(seen: Seen) -> None:
    assert statements(seen, "UPDATE") != []
    assert statements(seen, "SELECT 1") == []


def test_a_server_s_secret_is_its_random_token_and_hashed_as_such(seen: Seen) -> None:
    [secret] = [client["secret"] for client in seen.tables["oauth_clients"] if client["secret"]]
    [token] = [token["hashed"] for token in seen.tables["api_tokens"] if token["note"].startswith("Server at")]
    for hashed in (secret, token):
        assert hashed.startswith("sha512:1:")
        assert compare_token(hashed, seen.token)
        assert not compare_token(hashed, seen.token[::-1])
        assert seen.token not in hashed


def test_a_server_is_noted_and_linked_to_its_user_in_one_step(seen: Seen) -> None:
    begin, end = (
        next(number for number, note in enumerate(seen.notes) if note.startswith(f"sql {beginning}"))
        for beginning in ("INSERT INTO oauth_clients", "UPDATE spawners SET oauth_client_id")
    )
    assert "commit" not in seen.notes[begin:end]
    [spawner], clients = seen.tables["spawners"], seen.tables["oauth_clients"]
    assert spawner["oauth_client_id"] in {client["identifier"] for client in clients}


def test_no_record_is_made_that_the_log_does_not_have(seen: Seen) -> None:
    assert "record INFO" in seen.notes
    assert "record DEBUG" not in seen.notes


def test_who_asks_about_oneself_is_looked_up_once(seen: Seen) -> None:
    assert statements(seen, "SELECT", " FROM api_tokens", "api_tokens.prefix = ?") != []  # by the token
    assert statements(seen, "SELECT", " FROM users", "users.name = ?") == []


def test_what_a_server_s_token_may_do_is_as_ever_and_not_looked_up(seen: Seen) -> None:
    [token] = [token for token in seen.tables["api_tokens"] if token["note"].startswith("Server at")]
    [person] = [user for user in seen.tables["users"] if user["id"] == token["user_id"]]
    [role] = [role for role in seen.tables["roles"] if role["name"] == "server"]
    assert set(json.loads(role["scopes"])) == {"users:activity!user", "access:servers!server"}
    assert set(json.loads(token["scopes"])) == {"users:activity!user", f"access:servers!server={person['name']}/"}
    assert statements(seen, "SELECT", " FROM roles", "roles.name = ?") == []


def test_a_server_is_idle_from_the_moment_it_is_up(seen: Seen) -> None:
    [spawner], [user] = seen.tables["spawners"], seen.tables["users"]
    assert seen.answered is not None
    assert datetime.fromisoformat(spawner["started"]) < seen.answered
    assert datetime.fromisoformat(spawner["last_activity"]) >= seen.answered
    assert datetime.fromisoformat(user["last_activity"]) >= seen.answered
