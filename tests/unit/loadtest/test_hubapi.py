"""What the client makes of a hub's answers, told by a small server of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from hubfleet.loadtest import hubapi
from hubfleet.loadtest.hubapi import HubAPI, StepFailed
from hubfleet.units import Secret


class Hub:
    """Answers a start with one after the other of ``starts``, and its progress with ``events``."""

    def __init__(self) -> None:
        self.starts: list[web.Response] = []
        self.events = ""
        self.pause_s = 0.0
        self.tokens: set[str] = set()
        self.url = ""

    async def start(self, request: web.Request) -> web.Response:
        self.tokens.add(request.headers["Authorization"])
        await asyncio.sleep(self.pause_s)
        return self.starts.pop(0)

    async def progress(self, _: web.Request) -> web.Response:
        return web.Response(text=self.events, content_type="text/event-stream")

    async def missing(self, _: web.Request) -> web.Response:
        return web.json_response({"message": "Not Found"}, status=404)


@pytest_asyncio.fixture
async def hub() -> AsyncIterator[Hub]:
    made = Hub()
    app = web.Application()
    app.router.add_post("/hub/api/users/ada/server", made.start)
    app.router.add_get("/hub/api/users/ada/server/progress", made.progress)
    app.router.add_route("*", "/{rest:.*}", made.missing)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest_asyncio.fixture
async def api(hub: Hub) -> AsyncIterator[HubAPI]:
    async with aiohttp.ClientSession() as session:
        yield HubAPI(session, hub.url, Secret("ada-s"))


def later(seconds: int = 0) -> web.Response:
    text = "Too many users trying to log in"
    return web.json_response({"message": text}, status=429, headers={"Retry-After": str(seconds)})


async def test_a_hub_that_says_later_is_asked_again(hub: Hub, api: HubAPI) -> None:
    hub.starts = [later(), later(), web.Response(status=201)]
    assert await api.start("ada", {}, limit_s=30) == 2
    assert hub.tokens == {"token ada-s"}


async def test_a_hub_that_says_later_for_too_long_has_failed(hub: Hub, api: HubAPI) -> None:
    hub.starts = [later(60)]
    with pytest.raises(StepFailed, match="HTTP 429: Too many users"):
        await api.start("ada", {}, limit_s=30)


async def test_a_hub_may_take_its_time_for_a_start(hub: Hub, api: HubAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubapi, "ANSWER_LIMIT_S", 0.2)
    hub.pause_s, hub.starts = 0.5, [web.Response(status=201), web.Response(status=201)]
    assert await api.start("ada", {}, limit_s=30) == 0
    with pytest.raises(StepFailed, match=r"the hub did not answer within 0\.2 s"):
        await api.ask("POST", "/users/ada/server")


async def test_a_start_ends_as_the_hub_says(hub: Hub, api: HubAPI) -> None:
    waiting = 'data: {"progress": 10, "message": "Starting"}\n\n'
    hub.starts = [web.Response(status=202) for _ in range(3)]
    hub.events = f'{waiting}data: {{"progress": 100, "ready": true}}\n\n'
    assert await api.start("ada", {}, limit_s=30) == 0
    hub.events = f'{waiting}data: {{"progress": 100, "failed": true, "message": "Spawn failed: no room"}}\n\n'
    with pytest.raises(StepFailed, match=r"^Spawn failed: no room$"):
        await api.start("ada", {}, limit_s=30)
    hub.events = waiting
    with pytest.raises(StepFailed, match="without saying whether it was ready"):
        await api.start("ada", {}, limit_s=30)


async def test_a_server_that_is_up_when_the_hub_answers_is_waited_for_no_longer(hub: Hub, api: HubAPI) -> None:
    hub.starts, hub.events = [web.Response(status=201)], "data: nobody asks for this"
    assert await api.start("ada", {}, limit_s=30) == 0


async def test_whoever_is_gone_is_stopped_and_deleted_already(api: HubAPI) -> None:
    assert await api.find("ada") is None
    await api.stop("ada")
    await api.delete("ada")
