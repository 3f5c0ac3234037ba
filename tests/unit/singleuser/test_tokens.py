"""A server asks its hub for its user's token: at once, again before it is over, and for ever."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import socketserver
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest

import hubfleet.singleuser
from waiting import soon

TOLD = {"kind": "tapis", "tenant": "t", "base_url": "https://t.example", "username": "ada", "created_at": 1}


class Hub:
    """What answers at the hub's socket. ``answers``: status and content, one after the other; the last one stays."""

    def __init__(self, folder: Path) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.shown: list[str] = []
        self.hangs = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.shown.append(f"{self.path} {self.headers['Authorization']}")
                hub.hangs.wait(10)
                status, told = hub.answers.pop(0) if len(hub.answers) > 1 else hub.answers[0]
                content = told if isinstance(told, bytes) else json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def address_string(self) -> str:
                return "a socket"

            def log_message(self, *_: Any) -> None:
                pass

        self.hangs.set()
        self.server = socketserver.ThreadingUnixStreamServer(str(folder / "hub.sock"), Handler)
        self.server.daemon_threads = True
        self.url = f"http+unix://{quote(str(folder / 'hub.sock'), safe='')}/hub/api"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with tempfile.TemporaryDirectory(prefix="hft", dir="/tmp") as folder:  # a socket's path has to be short
        hub = Hub(Path(folder))
        monkeypatch.setenv("JUPYTERHUB_API_URL", hub.url)
        monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "canary-server")
        yield hub
        hub.end()


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The module, as it is called in users' environments; what it sets is gone afterwards."""
    monkeypatch.setitem(sys.modules, "hubfleet_singleuser", hubfleet.singleuser)
    for name in ("room", "tokenfiles", "tokens"):
        monkeypatch.delitem(sys.modules, f"hubfleet_singleuser.{name}", raising=False)
    module = importlib.import_module("hubfleet_singleuser.tokens")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(module, "ASK_ANEW_S", 0.01)
    yield module
    for name in module.variables({**TOLD, "access_token": ""}):
        os.environ.pop(name, None)


def told(token: str, again_s: float = 0.01) -> tuple[int, dict[str, Any]]:
    return 200, {**TOLD, "access_token": token, "expires_at": int(time.time()) + 60, "ask_again_s": again_s}


async def until(look: Any) -> None:
    await asyncio.to_thread(soon, look)


async def test_it_asks_until_there_is_a_token_and_has_the_next_one_in_time(
    hub: Hub, tokens: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = (503, {"message": "there is no token at the moment"})
    hub.answers = [away, away, (500, b"<h1>odd</h1>"), (200, {"access_token": "x"}), told("t1"), told("t1"), told("t2")]
    keeper = tokens.Keeper(logging.getLogger("test"))
    running = asyncio.create_task(keeper.run())
    await until(lambda: os.environ.get("TAPIS_TOKEN") == "t2")
    await until(lambda: "t2" in (tmp_path / ".agave" / "current").read_text())
    running.cancel()
    assert set(hub.shown) == {"/hub/api/hubfleet/token token canary-server"}
    said = [record.message for record in caplog.records if "could not be renewed" in record.message]
    assert [said[0].endswith("the hub says: there is no token at the moment"), len(said)] == [True, 3]
    assert "canary" not in caplog.text
    assert "t1" not in caplog.text


async def test_what_somebody_has_set_on_purpose_stays(hub: Hub, tokens: ModuleType, tmp_path: Path) -> None:
    os.environ["TAPIS_BASE_URL"] = "https://mine.example"
    hub.answers = [told("t1")]
    running = asyncio.create_task(tokens.Keeper(logging.getLogger("test")).run())
    await until(lambda: (tmp_path / ".agpy").exists())
    running.cancel()
    assert (os.environ["TAPIS_BASE_URL"], os.environ["TAPIS_TOKEN"]) == ("https://mine.example", "t1")


async def test_a_home_that_takes_no_files_leaves_the_environment(hub: Hub, tokens: ModuleType, tmp_path: Path) -> None:
    (tmp_path / ".agave").write_text("a file")
    hub.answers = [told("t1")]
    keeper = tokens.Keeper(logging.getLogger("test"))
    running = asyncio.create_task(keeper.run())
    await asyncio.wait_for(keeper.asked.wait(), 10)
    running.cancel()
    assert os.environ["TAPIS_TOKEN"] == "t1"


class Server:
    """What a server has that the module looks at."""

    def __init__(self) -> None:
        self.log, self.started = logging.getLogger("test"), 0
        self.web_app, self.kernel_manager, self.io_loop = type("App", (), {"settings": {}})(), self, self
        self.tasks: list[asyncio.Task[None]] = []

    async def start_kernel(self, name: str) -> str:
        self.started += 1
        return f"{name} {os.environ.get('TAPIS_TOKEN')}"

    def add_callback(self, run: Any) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(run()))


async def test_the_first_kernel_waits_for_the_token_but_not_for_long(
    hub: Hub, tokens: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "KERNEL_WAITS_S", 0.2)
    hub.answers = [told("t1")]
    hub.hangs.clear()
    os.environ[tokens.WANTED] = "1"
    server = Server()
    tokens.keep_token(server)
    assert tokens.WANTED not in os.environ
    assert await server.start_kernel("a") == "a None"
    monkeypatch.setattr(tokens, "KERNEL_WAITS_S", 10)
    threading.Timer(0.1, hub.hangs.set).start()
    assert await server.start_kernel("b") == "b t1"
    for task in server.tasks:
        task.cancel()


async def test_where_the_hub_has_none_nothing_is_asked(hub: Hub, tokens: ModuleType) -> None:
    os.environ.pop(tokens.WANTED, None)
    server = Server()
    tokens.keep_token(server)
    assert await server.start_kernel("a") == "a None"
    assert (server.tasks, hub.shown) == ([], [])
