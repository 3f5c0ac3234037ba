"""The parts of benchmarks/ that need no hub: sums, the table, the cache."""

from __future__ import annotations

import argparse
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import measure
from hubfleet.loadtest import Target
from hubfleet.units import Secret
from page import Browser
from peers import OURS, TUNED, Peer

PEERS = [Peer(name, Target("http://127.0.0.1:9", Secret("none"))) for name in (OURS, TUNED)]


def made(hub: str, value: float | None) -> dict[str, Any]:
    return {"hub": hub, "round": 1, "wall_s": value}


def test_a_ratio_is_of_medians_and_says_how_many_times_less_ours_is() -> None:
    rounds = [made(OURS, 1.0), made(TUNED, 30.0), made(OURS, 2.0), made(TUNED, 50.0), made(OURS, 9.0)]
    values = measure.medians(rounds, PEERS, lambda one: one["wall_s"])
    assert values == [2.0, 40.0]
    assert measure.ratio(values) == 20.0


def test_what_is_not_known_has_no_ratio() -> None:
    values = measure.medians([made(OURS, 2.0), made(TUNED, None)], PEERS, lambda one: one["wall_s"])
    assert values == [2.0, None]
    assert measure.ratio(values) is None
    assert measure.ratio([None, 2.0]) is None


def test_the_table_shows_every_line_and_every_warning() -> None:
    document = {
        "machine": measure.machine(),
        "versions": {"jupyterhub": "6"},
        "stock": [TUNED],
        "rows": [measure.row("all ready", "s", [2.0, None]), measure.row("memory", "MB", [1024**2, 6 * 1024**2])],
        "rounds": [{"hub": TUNED, "round": 2, "failures": ["start: too slow (3)"]}],
    }
    lines = measure.table(document).splitlines()
    assert "jupyterhub 6" in lines
    assert [line.split() for line in lines if line.startswith("all ready")] == [["all", "ready", "2.000", "s", "-"]]
    assert [line.split()[-1] for line in lines if line.startswith("memory")] == ["6.0"]
    assert lines[-1] == "Note: stock, tuned, round 2: start: too slow (3)"


def test_more_people_than_fit_into_memory_are_refused() -> None:
    def options(users: int | None) -> argparse.Namespace:
        return argparse.Namespace(users=users, usual_users=50, rounds=3, quick=False)

    with pytest.raises(SystemExit, match="fit into this machine's free memory, not 1000000"):
        measure.fitting(options(1_000_000))
    assert measure.fitting(options(1)).users == 1
    assert 1 <= measure.fitting(options(None)).users <= 50


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """A site with a page that may be kept, one that must be asked about, and one that must not be kept."""

    async def kept(request: web.Request) -> web.Response:
        return web.Response(text="k" * 1000, headers={"Cache-Control": "public, max-age=600"})

    async def asked(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"1"':
            return web.Response(status=304)
        return web.Response(text="a" * 100, headers={"ETag": '"1"', "Cache-Control": "no-cache"})

    async def never(request: web.Request) -> web.Response:
        return web.Response(text="n" * 10, headers={"ETag": '"1"', "Cache-Control": "no-store"})

    application = web.Application()
    application.add_routes([web.get("/kept", kept), web.get("/asked", asked), web.get("/never", never)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_the_cache_keeps_to_what_the_server_says(site: str) -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        browser = Browser(session, {})
        texts = [await browser.get(f"{site}/{name}") for name in ("kept", "asked", "never")]
        assert (browser.requests, browser.received) == (3, 1110)
        browser.requests = browser.received = 0
        assert [await browser.get(f"{site}/{name}") for name in ("kept", "asked", "never")] == texts
        assert (browser.requests, browser.received) == (2, 10)
        browser.cache[f"{site}/kept"].fresh_until = time.monotonic()
        assert await browser.get(f"{site}/kept") == texts[0]
        assert browser.received == 1010
