"""Whose start the hub prepares."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from hubfleet.hub import turns
from hubfleet.hub.turns import InTurn, Turn, Turns


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Class:
    """People who ask for their turn in the order of their numbers."""

    def __init__(self, people: int) -> None:
        self.turns = Turns()
        self.have: dict[int, Turn | None] = {}
        self.asking = [asyncio.create_task(self._ask(number)) for number in range(people)]

    async def _ask(self, number: int) -> None:
        self.have[number] = await self.turns.mine(str(number))

    def end(self, number: int) -> None:
        turn = self.have[number]
        assert turn is not None
        turn.end()


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_LIMIT_S", 60)


@pytest.mark.usefixtures("unhurried")
async def test_one_at_a_time_in_the_order_of_coming() -> None:
    people = Class(4)
    for number in range(4):
        await settle()
        assert list(people.have) == list(range(number + 1))
        people.end(number)
        people.end(number)  # a second time lets nobody else in
    late = await people.turns.mine()
    assert late is not None, "nobody has it any more"


async def test_a_turn_that_takes_long_is_over_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_LIMIT_S", 0.01)
    people = Class(3)
    await asyncio.wait_for(asyncio.gather(*people.asking), 5)
    assert None not in people.have.values()


@pytest.mark.usefixtures("unhurried")
async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", 0.01)
    people = Class(3)
    await asyncio.wait_for(asyncio.gather(*people.asking), 5)
    assert [turn is None for turn in people.have.values()] == [False, True, True]
    people.end(0)
    assert await people.turns.mine(), "it was not given to those who have gone on"


@pytest.mark.usefixtures("unhurried")
async def test_who_is_gone_gets_no_turn_and_keeps_none() -> None:
    people = Class(4)
    await settle()
    people.asking[1].cancel()
    await settle()
    people.end(0)
    people.asking[2].cancel()  # at the very moment in which it is called
    await settle()
    assert list(people.have) == [0, 3]


@pytest.mark.usefixtures("unhurried")
async def test_the_line_tells_how_many_are_before() -> None:
    people = Class(4)
    places: list[list[int | None]] = []
    for number in range(4):
        await settle()
        places.append([people.turns.line.before(str(one)) for one in range(4)])
        people.end(number)
    assert places == [[None, 0, 1, 2], [None, None, 0, 1], [None, None, None, 0], [None] * 4]


@pytest.mark.usefixtures("unhurried")
async def test_who_is_gone_is_before_nobody() -> None:
    people = Class(4)
    await settle()
    people.asking[1].cancel()
    await settle()
    assert [people.turns.line.before(str(one)) for one in range(4)] == [None, None, 0, 1]


class Answered:
    """What a handler of JupyterHub does."""

    def __init__(self, method: str, fails: bool = False) -> None:
        self.request = SimpleNamespace(method=method)
        self.fails = fails
        self.finished = False

    def get_cookie(self, name: str) -> None:
        return None

    async def prepare(self) -> None:
        if self.fails:
            raise PermissionError

    def on_finish(self) -> None:
        self.finished = True


def handler(method: str, **more: Any) -> Any:
    class Handler(InTurn, Answered):
        turns = Turns()

    return Handler(method, **more)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("fails", [False, True])
async def test_a_request_ends_its_turn_at_the_latest_with_its_answer(fails: bool) -> None:
    one = handler("POST", fails=fails)
    await asyncio.gather(one.prepare(), return_exceptions=True)
    waiting = asyncio.create_task(one.turns.mine())
    await settle()
    assert not waiting.done()
    one.on_finish()
    await settle()
    assert waiting.done()
    assert one.finished


@pytest.mark.usefixtures("unhurried")
async def test_other_requests_wait_for_nobody() -> None:
    one = handler("DELETE")
    assert await one.turns.mine()
    await asyncio.wait_for(one.prepare(), 5)
    one.on_finish()
    assert one.finished
