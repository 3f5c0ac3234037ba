"""What is known of the hub's jobs. However many ask, the cluster is asked once, for all of them, and not often."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from hubfleet.engines.slurm.away import LoginAway
from hubfleet.engines.slurm.listing import Job

EVERY_S = 10.0
SLOWEST_S = 120.0
"""How seldom the cluster is asked after it has not answered several times."""

Jobs = Mapping[str, tuple[Job, ...]]
Ask = Callable[[Collection[str]], Awaitable[Jobs]]
Last = Callable[[int, str], Awaitable[Job | None]]


class Board:
    """``ask``: tells of all jobs of these names; ``last``: of one that it does not list, see `login.Login`. Both raise
    LoginAway. ``every``: seconds between two questions at least."""

    def __init__(self, ask: Ask, last: Last, every: float = EVERY_S, slowest: float = SLOWEST_S) -> None:
        self._ask = ask
        self._last = last
        self._every = every
        self._slowest = slowest
        self._names = set[str]()
        self._known: Jobs = {}
        self._told_of = frozenset[str]()
        self._problem: LoginAway | None = None
        self._missed = 0
        self._next = 0.0
        self._asking: asyncio.Task[None] | None = None

    def expect(self, name: str) -> None:
        """Ask for jobs of this name too, from the next question on, which is then not put off."""
        if name not in self._names:
            self._names.add(name)
            if self._problem is None:
                self._next = 0.0

    def forget(self, name: str) -> None:
        """Ask for them no more."""
        self._names.discard(name)

    async def job(self, name: str, number: int) -> Job | None:
        """One job; None when the cluster certainly knows it no more. Raises LoginAway: then nothing is known of it."""
        self.expect(name)
        await self._look()
        if self._problem is not None:
            raise type(self._problem)(str(self._problem))
        for job in self._known.get(name, ()):
            if job.id == number:
                return job
        # That a list lacks it is not enough: a word of its own is asked for.
        return await self._last(number, name)

    async def close(self) -> None:
        """Wait for no answer any more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _look(self) -> None:
        """Return when what is known is young enough, or it is not time to ask again."""
        while True:
            if self._asking is None:
                if time.monotonic() < self._next:
                    return
                self._asking = asyncio.create_task(self._answer(frozenset(self._names)))
            asking = self._asking
            await asyncio.shield(asking)
            if self._problem is not None or self._names <= self._told_of:
                return

    async def _answer(self, names: frozenset[str]) -> None:
        try:
            self._known, self._told_of, self._problem, self._missed = await self._ask(names), names, None, 0
        except LoginAway as problem:
            self._problem, self._missed = problem, self._missed + 1
        finally:
            self._asking = None
            self._next = time.monotonic() + min(self._slowest, self._every * 2**self._missed)
            if not self._names <= names and self._problem is None:
                self._next = 0.0  # somebody has come since
