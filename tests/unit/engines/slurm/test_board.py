"""The cluster is asked once for all who want to know, and not often; and silence is no answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from contextlib import suppress

import pytest

from hubfleet.engines.slurm.away import LoginAway, Unreachable
from hubfleet.engines.slurm.board import Board, Jobs
from hubfleet.engines.slurm.listing import Job


class Asked:
    """A cluster: what it knows, and how it was asked."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[Job, ...]] = {}
        self.forgotten: dict[int, Job] = {}
        self.questions: list[frozenset[str]] = []
        self.away = False
        self.asked = asyncio.Event()
        self.holding = asyncio.Event()
        self.holding.set()

    async def ask(self, names: Collection[str]) -> Jobs:
        self.questions.append(frozenset(names))
        self.asked.set()
        await self.holding.wait()
        if self.away:
            raise Unreachable("no way")
        return {name: jobs for name, jobs in self.known.items() if name in names}

    async def last(self, number: int, name: str) -> Job | None:
        if self.away:
            raise Unreachable("no way")
        return self.forgotten.get(number)


def running(name: str, number: int) -> Job:
    return Job(number, name, "ada", "RUNNING")


async def test_many_who_ask_at_once_are_one_question() -> None:
    asked = Asked()
    names = [f"n{number}" for number in range(50)]
    asked.known = {name: (running(name, number),) for number, name in enumerate(names)}
    board = Board(asked.ask, asked.last)
    for name in names:
        board.expect(name)
    found = await asyncio.gather(*(board.job(name, number) for number, name in enumerate(names)))
    assert [job.id for job in found if job] == list(range(50))
    assert asked.questions == [frozenset(names)]
    await asyncio.gather(*(board.job(name, number) for number, name in enumerate(names)))
    assert len(asked.questions) == 1, "it is not time yet"


async def test_after_a_while_it_is_asked_again() -> None:
    asked = Asked()
    board = Board(asked.ask, asked.last, every=0.01)
    asked.known = {"a": (running("a", 1),)}
    await board.job("a", 1)
    await asyncio.sleep(0.02)  # the time is what is tested
    asked.known = {"a": (Job(1, "a", "ada", "TIMEOUT"),)}
    job = await board.job("a", 1)
    assert job is not None
    assert job.over


async def test_somebody_who_comes_while_it_is_asked_gets_an_answer_of_their_own() -> None:
    asked = Asked()
    asked.known = {"a": (running("a", 1),), "b": (running("b", 2),)}
    asked.holding.clear()
    board = Board(asked.ask, asked.last)
    first = asyncio.create_task(board.job("a", 1))
    await asked.asked.wait()
    second = asyncio.create_task(board.job("b", 2))
    await asyncio.sleep(0)
    asked.holding.set()
    assert [job.id for job in await asyncio.gather(first, second) if job] == [1, 2]
    assert asked.questions == [frozenset("a"), frozenset("ab")]
    board.forget("a")
    board.expect("c")
    await board.job("c", 3)
    assert asked.questions[-1] == frozenset("bc")


async def test_silence_is_never_an_end_and_is_not_asked_into_often() -> None:
    asked = Asked()
    asked.known = {"a": (running("a", 1),)}
    board = Board(asked.ask, asked.last, every=0.01, slowest=0.04)
    await board.job("a", 1)
    asked.away = True
    begun = time.monotonic()
    heard = 0
    while time.monotonic() - begun < 0.5:
        with suppress(LoginAway):
            await board.job("a", 1)
            heard += 1
        await asyncio.sleep(0.001)
    assert heard <= 15, "while the last answer is young enough"
    with pytest.raises(Unreachable, match="no way"):
        await board.job("a", 1)
    assert 5 < len(asked.questions) < 20, "twice as seldom each time, up to a limit"
    asked.away = False
    await asyncio.sleep(0.05)
    assert await board.job("a", 1) == running("a", 1)


async def test_what_a_list_lacks_is_asked_for_by_itself() -> None:
    asked = Asked()
    asked.forgotten = {1: Job(1, "a", "ada", "NODE_FAIL")}
    board = Board(asked.ask, asked.last)
    assert await board.job("a", 1) == asked.forgotten[1]
    assert await board.job("a", 2) is None
    asked.away = True
    with pytest.raises(Unreachable):
        await board.job("a", 1)


async def test_a_job_of_another_number_is_another_job() -> None:
    asked = Asked()
    asked.known = {"a": (running("a", 7),)}
    board = Board(asked.ask, asked.last)
    assert await board.job("a", 6) is None


async def test_it_ends_while_it_waits_for_an_answer() -> None:
    asked = Asked()
    asked.holding.clear()
    board = Board(asked.ask, asked.last)
    waiting = asyncio.create_task(board.job("a", 1))
    await asked.asked.wait()
    await board.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
