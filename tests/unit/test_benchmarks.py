"""The parts of benchmarks/ that need no hub: sums, the table, the cache."""

from __future__ import annotations

import argparse
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import container
import deploy
import fleet
import measure
from controllers import CHANGED, Ansible, Ours, Pyinfra, Reach, wanted
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


# -- deploying --------------------------------------------------------------------------------------------------------


def deployed(controller: str, seconds: float, state: str = "same") -> dict[str, Any]:
    steps = {"first": 2 * seconds, "nothing": seconds, "plan": seconds}
    return {
        "controller": controller,
        "machines": 4,
        "round": 1,
        "busy_before": 0.1,
        "seconds": steps,
        "states": [state],
    }


def test_others_are_told_in_times_of_ours() -> None:
    made = [deployed("hubfleet", 0.4), deployed("Ansible", 20.0), deployed("hubfleet", 0.6), deployed("pyinfra", 10.0)]
    found = deploy.summary([*made, deployed("hubfleet", 0.5)], ["hubfleet", "Ansible", "pyinfra"], [4])
    assert found["ratio_nothing"] == {"Ansible": {4: 40.0}, "pyinfra": {4: 20.0}}
    [nothing] = [row for row in found["rows"] if row["step"] == "nothing"]
    assert nothing["values"] == [0.5, 20.0, 10.0]
    assert found["same_state"]


def test_states_that_differ_are_told() -> None:
    found = deploy.summary([deployed("hubfleet", 1.0), deployed("Ansible", 9.0, "other")], ["hubfleet", "Ansible"], [4])
    document = {
        "machine": measure.machine(),
        "versions": {"ansible-core": "2"},
        **found,
        "rounds": [deployed("x", 1.0)],
    }
    lines = deploy.table(document).splitlines()
    assert lines[-1] == "Note: they did NOT leave the same state."
    assert [line.split()[-5:] for line in lines if "nothing to change" in line] == [["1.00", "s", "9.00", "s", "9.0"]]


@pytest.mark.parametrize("kind", [Ours, Ansible, Pyinfra])
def test_each_is_asked_for_all_of_the_same(kind: Any, tmp_path: Path) -> None:
    controller = kind() if kind is Ours else kind(Path("/programs"))
    what = wanted(3)
    assert what.count == 40
    reach = Reach({"m1": "192.0.2.1"}, tmp_path / "key", tmp_path / "known", [])
    controller.command("plan", what, reach, tmp_path)
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    names = [*(one.name for one in what.accounts), *(one.path for one in (*what.directories, *what.files))]
    assert [name for name in names if f'"{name}"' not in written.replace("'", '"')] == []
    assert written.count(CHANGED) == 3


# -- containers -------------------------------------------------------------------------------------------------------


def played(hub: str, seconds: float, failed: int = 0) -> dict[str, Any]:
    ready = {"p50": seconds / 2, "p95": seconds, "max": seconds}
    return {"hub": hub, "round": 1, "wall_s": None if failed else seconds, "ready_s": ready, "failed": failed}


def test_containers_are_compared_by_size_of_class() -> None:
    names = [OURS, "DockerSpawner"]
    singles = [played(OURS, 2.0), played("DockerSpawner", 6.0)]
    classes = {
        20: [played(OURS, 10.0), played("DockerSpawner", 30.0)],
        50: [played(OURS, 20.0), played(names[1], 9.0, 4)],
    }
    parts = [{"create": 0.1, "program until ready": 1.0}, {"create": 0.3, "program until ready": 1.2}]
    found = container.summary(names, singles, classes, [*parts, {"create": 0.2, "program until ready": 1.1}])
    assert (found["ratio_single"], found["ratio_wall"], found["failed"]) == (3.0, {20: 3.0, 50: None}, 0)
    assert found["parts"] == {"create": 0.2, "program until ready": 1.1}
    assert [row["values"] for row in found["rows"] if "failed" in row["what"]] == [[0, 0], [0, 4]]
    assert [0.2, None] in [row["values"] for row in found["rows"] if row["what"].startswith("ours, ")]


def test_the_engines_time_is_read() -> None:
    assert container.engine_time("1970-01-01T00:00:10.123456789Z") == pytest.approx(10.123456)
    assert container.engine_time("1970-01-01T00:00:10Z") == 10


def test_a_fleets_document_has_ratios_failures_and_parts() -> None:
    def one(hub: str, people: int, wall: float | None, failed: int = 0) -> dict[str, Any]:
        times = None if wall is None else {"p50": wall, "p95": wall}
        return {"hub": hub, "people": people, "wall_s": wall, "ready_s": times, "failed": failed, "cpu_s": 2.0}

    names = [OURS, fleet.STOCK]
    singles = [one(OURS, 1, 2.0), one(fleet.STOCK, 1, 5.0)]
    classes = [one(OURS, 60, 20.0), one(fleet.STOCK, 60, None, failed=7), one(fleet.STOCK, 60, 80.0)]
    made = fleet.summary(names, singles, classes, [{"Making the service": 0.1}, {"Making the service": 0.3}])
    assert (made["ratio_single"], made["ratio_wall"]) == (2.5, 4.0)
    assert made["failed"] == {OURS: 0, fleet.STOCK: 7}
    assert made["parts"] == {"Making the service": 0.2}
    assert [line["values"] for line in made["rows"] if "failed" in line["what"]] == [[0, 7]]
