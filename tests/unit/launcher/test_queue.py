"""Who starts when many start together."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hubfleet.launcher import queue
from hubfleet.launcher.queue import StartQueue


class Class:
    """People who start through one queue; each goes on when `let` is called with their number."""

    def __init__(self, at_once: int, people: int) -> None:
        self.queue = StartQueue(at_once)
        self.running: set[int] = set()
        self.most = 0
        self.order: list[int] = []
        self.told: dict[int, list[str]] = {number: [] for number in range(people)}
        self.heard = asyncio.Event()
        self.gates = [asyncio.Event() for _ in range(people)]
        self.tasks = [asyncio.create_task(self._person(number)) for number in range(people)]

    async def _person(self, number: int) -> None:
        async with self.queue.turn(lambda text: self._hear(number, text)):
            self.running.add(number)
            self.order.append(number)
            self.most = max(self.most, len(self.running))
            try:
                await self.gates[number].wait()
            finally:
                self.running.discard(number)

    def _hear(self, number: int, text: str) -> None:
        self.told[number].append(text)
        self.heard.set()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


async def test_only_so_many_start_at_once_and_in_order() -> None:
    people = Class(2, 5)
    await people.settle()
    assert people.running == {0, 1}
    people.gates[1].set()
    await people.settle()
    assert people.running == {0, 2}
    for gate in people.gates:
        gate.set()
    await asyncio.gather(*people.tasks)
    assert (people.order, people.most) == ([0, 1, 2, 3, 4], 2)


async def test_machines_that_come_let_more_go_and_those_that_leave_fewer() -> None:
    people = Class(1, 6)
    await people.settle()
    people.queue.allow(3)
    await people.settle()
    assert people.running == {0, 1, 2}
    people.queue.allow(1)
    for number in (0, 1):
        people.gates[number].set()
        await people.settle()
    assert people.running == {2}
    people.gates[2].set()
    await people.settle()
    assert people.running == {3}
    people.queue.allow(9)
    await people.settle()
    assert people.running == {3, 4, 5}
    for gate in people.gates:
        gate.set()
    await asyncio.gather(*people.tasks)
    assert people.order == [0, 1, 2, 3, 4, 5]


async def test_who_waits_is_told_the_place_and_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "TELL_EVERY_S", 0.01)
    people = Class(1, 3)
    await people.settle()
    assert people.told == {
        0: [],
        1: ["Many are starting now: you are number 1 in the queue"],
        2: ["Many are starting now: you are number 2 in the queue"],
    }
    people.gates[0].set()
    people.heard.clear()
    await people.heard.wait()
    assert people.told[2][1] == "Many are starting now: you are number 1 in the queue, about 1 s to go"
    for gate in people.gates:
        gate.set()
    await asyncio.gather(*people.tasks)


def test_a_long_queue_is_not_held_up_by_being_told() -> None:
    assert {queue.tell_again_s(place) for place in range(1, queue.TOLD_PER_S + 1)} == {queue.TELL_EVERY_S}
    assert queue.tell_again_s(300) == 300 / queue.TOLD_PER_S
    told_each_second = sum(1 / queue.tell_again_s(place) for place in range(1, 221))
    assert told_each_second < 0.45 * 220


async def test_one_who_gives_up_holds_nobody_back() -> None:
    people = Class(1, 3)
    await people.settle()
    people.tasks[1].cancel()
    people.tasks[0].cancel()
    await people.settle()
    assert people.running == {2}
    people.gates[2].set()
    await people.tasks[2]


@settings(max_examples=100)
@given(some.integers(1, 4), some.lists(some.tuples(some.integers(0, 7), some.booleans(), some.booleans()), max_size=30))
def test_whatever_happens_turns_are_neither_lost_nor_doubled(
    at_once: int, events: list[tuple[int, bool, bool]]
) -> None:
    async def play() -> None:
        people = Class(at_once, 8)
        await people.settle()
        for number, ends, settles in events:
            if settles:
                await people.settle()
            if ends:
                people.gates[number].set()
            else:
                people.tasks[number].cancel()
        for gate in people.gates:
            gate.set()
        await asyncio.wait_for(asyncio.gather(*people.tasks, return_exceptions=True), 5)
        assert people.most <= at_once
        await people.settle()
        assert people.queue._free == at_once

    asyncio.run(play())
