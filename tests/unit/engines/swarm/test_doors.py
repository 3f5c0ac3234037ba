"""The door that servers come to: whom it lets in, and what it makes of what they say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from hubfleet.engines.swarm import doors
from hubfleet.engines.swarm.doors import Doors, accepts, listening, tcp
from hubfleet.engines.swarm.showing import Bind, Unfit
from hubfleet.launcher.base import StartFailed


class Street:
    """An open door, at a free port."""

    def __init__(self) -> None:
        self.socket = listening("127.0.0.1", 0, tcp())
        self.port = self.socket.getsockname()[1]
        self.doors = Doors(lambda: self.socket)

    async def come(self, key: Any, shown: Any = None, **seen: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        told = {"key": key, "seen": {f"/{name}": inode for name, inode in seen.items()}, "shown": shown or {}}
        writer.write(json.dumps(told).encode() + b"\n")
        return reader, writer


@pytest_asyncio.fixture
async def street() -> AsyncIterator[Street]:
    made = Street()
    await made.doors.open()
    yield made
    await made.doors.close()


async def test_who_is_expected_enters_and_says_when_it_is_up(street: Street) -> None:
    visit = street.doors.expect({"/home": 12})
    assert not visit.arrived
    reader, writer = await street.come(visit.key, home=12)
    assert await reader.readline() == b"enter\n"
    assert visit.arrived
    assert not visit.up.done()
    writer.write(b"+")
    await visit.up
    street.doors.forget(visit)
    assert await reader.read() == b""
    writer.close()


async def test_a_key_is_good_once(street: Street) -> None:
    visit = street.doors.expect({})
    first, _ = await street.come(visit.key)
    assert await first.readline() == b"enter\n"
    second, _ = await street.come(visit.key)
    assert await second.read() == b""


async def test_a_server_that_nobody_waits_for_does_not_enter(street: Street) -> None:
    visit = street.doors.expect({})
    street.doors.forget(visit)
    reader, _ = await street.come(visit.key)
    assert await reader.read() == b""


@pytest.mark.parametrize("key", ["", "other", None, 7, [], {}])
async def test_who_has_no_key_does_not_enter(street: Street, key: Any) -> None:
    visit = street.doors.expect({})
    reader, _ = await street.come(key)
    assert await reader.read() == b""
    assert not visit.arrived


@pytest.mark.parametrize("said", [b"\n", b"[]\n", b'"x"\n', b"{}\n", b"\xff\n", b"x" * 40_000])
async def test_nonsense_does_not_enter(street: Street, said: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", street.port)
    writer.write(said)
    with contextlib.suppress(ConnectionError):  # what it did not read is left behind
        assert await reader.read() == b""
    visit = street.doors.expect({})
    another, _ = await street.come(visit.key)
    assert await another.readline() == b"enter\n"


@pytest.mark.parametrize("seen", [{}, {"home": 13}])
async def test_another_directory_than_it_should_be_ends_the_start(street: Street, seen: dict[str, int]) -> None:
    visit = street.doors.expect({"/home": 12})
    reader, _ = await street.come(visit.key, **seen)
    assert await reader.read() == b""
    with pytest.raises(StartFailed, match="/home is another directory on its machine than on the hub's"):
        await visit.up


async def test_another_place_than_its_path_says_ends_the_start(street: Street) -> None:
    data = Bind("/work/ada", "/data", True, ("/work",))
    good = {"type": "xfs", "root": "/ada", "top": False, "has": []}
    visit = street.doors.expect({}, [data])
    reader, _ = await street.come(visit.key, {"/data": good})
    assert await reader.readline() == b"enter\n"
    for wrong, words in ((None, "is not there"), ({**good, "root": "/work/ada"}, "/work is not mounted there")):
        visit = street.doors.expect({}, [data])
        reader, _ = await street.come(visit.key, {"/data": wrong} if wrong else None)
        assert await asyncio.wait_for(reader.read(), 20) == b"", "it is not let in"
        with pytest.raises(Unfit, match=words):
            await visit.up


async def test_nobody_can_fill_the_door(street: Street) -> None:
    standing = [await asyncio.open_connection("127.0.0.1", street.port) for _ in range(doors._AT_ONCE)]
    with contextlib.suppress(ConnectionError):
        reader, _ = await asyncio.open_connection("127.0.0.1", street.port)
        assert await reader.read() == b""
    standing[0][1].close()
    visit = street.doors.expect({})
    while True:
        with contextlib.suppress(ConnectionError):
            another, _ = await street.come(visit.key)
            if await another.readline():
                break


async def test_who_says_nothing_is_sent_away(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "_TALK_LIMIT_S", 0.05)
    reader, _ = await asyncio.open_connection("127.0.0.1", street.port)
    assert await reader.read() == b""


async def test_whether_somebody_accepts_connections() -> None:
    with listening("127.0.0.1", 0, tcp()) as there:
        assert await accepts(f"http://127.0.0.1:{there.getsockname()[1]}", tcp(), 1)
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    assert not await accepts(f"http://127.0.0.1:{closed.getsockname()[1]}", tcp(), 1)
    closed.close()
