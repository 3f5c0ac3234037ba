"""What a hub takes a server for, when it cannot ask the launcher at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from aiohttp import web
from jupyterhub import orm

from hubfleet.hub import spawner
from hubfleet.hub.spawner import LauncherSpawner


def returning(socket: Path, server: Path) -> LauncherSpawner:
    """As a hub has it that comes up and looks for a server that ran, which listens at the socket ``server``."""
    made = LauncherSpawner(user=SimpleNamespace(name="ada"), launcher_socket=str(socket))
    made.load_state({"launched": True})
    made._check_pending = True
    there = orm.Server(proto="http+unix", ip=quote(str(server), safe=""), port=0, base_url="/user/ada/", cookie_name="")
    made.orm_spawner = orm.Spawner(name="", server=there)
    return made


@asynccontextmanager
async def answering(socket: Path, path: str, **answers: object) -> AsyncIterator[None]:
    """Something that answers there."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(answers)

    app = web.Application()
    app.router.add_route("*", path, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(socket)).start()
        yield
    finally:
        await runner.cleanup()


STOPPED = {"state": "stopped", "why": "the machine was restarted", "code": 3}
UNKNOWN = {"state": "unknown", "why": "the engine does not answer"}


@pytest.mark.parametrize("first", [None, UNKNOWN], ids=["is_away", "cannot_tell"])
async def test_a_server_that_went_with_its_launcher_is_not_taken_to_run_when_both_come_back(
    tmp_path: Path, first: dict[str, object] | None
) -> None:
    """The next start would be refused, for "ada is already running"."""
    launcher = tmp_path / "socket"
    asked = asyncio.create_task(returning(launcher, tmp_path / "server").poll())
    async with answering(launcher, "/v1/status", **first) if first else nullcontext():
        assert not (await asyncio.wait({asked}, timeout=3 * spawner.FOUND_AGAIN_PAUSE_S))[0]
    async with answering(launcher, "/v1/status", **STOPPED):
        assert await asyncio.wait_for(asked, 10) == 3


async def test_a_server_that_answers_is_taken_to_run_though_the_launcher_stays_away(tmp_path: Path) -> None:
    async with answering(tmp_path / "server", "/{any:.*}"):
        assert await asyncio.wait_for(returning(tmp_path / "socket", tmp_path / "server").poll(), 10) is None


async def test_later_on_nobody_waits_for_a_launcher(tmp_path: Path) -> None:
    known = returning(tmp_path / "socket", tmp_path / "server")
    known._check_pending = False
    assert await asyncio.wait_for(known.poll(), 1) is None


@pytest.mark.parametrize(("code", "kept"), [(137, "worker1 is lost"), (None, "worker1 is lost"), (0, "")])
async def test_why_it_ended_is_kept_for_its_user(tmp_path: Path, code: int | None, kept: str) -> None:
    """JupyterHub forgets the rest of what it knew of a server, and keeps the new state for the next spawner."""
    asked = returning(tmp_path / "socket", tmp_path / "server")
    async with answering(tmp_path / "socket", "/v1/status", state="stopped", why="worker1 is lost", code=code):
        assert await asked.poll() == (code or 0)
    asked.clear_state()
    assert asked.get_state() == ({"ended": kept} if kept else {})
    later = returning(tmp_path / "socket", tmp_path / "server")
    later.load_state(asked.get_state())
    assert (later.ended, await later.poll()) == (kept, 0)


@pytest.mark.parametrize("why", ["an administrator has stopped it", ""])
async def test_why_it_was_stopped_is_kept_for_its_user_until_the_next_one(tmp_path: Path, why: str) -> None:
    """Where its user stops it there is nothing to tell, whatever a look in the middle has found."""
    stopped = returning(tmp_path / "socket", tmp_path / "server")
    stopped.stopped_for = why
    async with answering(tmp_path / "socket", "/v1/{any}", state="stopped", why="it was stopped", code=143):
        await stopped.poll()
        await stopped.stop()
        assert stopped.get_state() == ({"ended": why} if why else {})
        stopped.load_state({"launched": True})
        await stopped.stop()
        assert stopped.get_state() == {}, "the next end is another one"
