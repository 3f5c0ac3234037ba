"""A class that starts together: as many starts at once as the machine has processors for, the others in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator

from hubfleet.launcher.base import Progress

AT_ONCE_PER_CORE = 2
"""A start waits for disk and hub part of its time, so two keep a processor busy; more would only slow each other."""
TELL_EVERY_S = 1.0
TOLD_PER_S = 30
"""Whoever is far back is told less often than that, or the telling would hold up the queue: it goes by the hub."""
_RECENT = 20


def capacity() -> int:
    """How many starts at once this machine can carry."""
    return AT_ONCE_PER_CORE * len(os.sched_getaffinity(0))


class StartQueue:
    """Lets ``at_once`` starts go on; who has to wait is told the place, and how long it will take at the speed seen."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._at_once = at_once
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._took: deque[float] = deque(maxlen=_RECENT)

    def allow(self, at_once: int) -> None:
        """From now on so many: machines come and go."""
        self._free += at_once - self._at_once
        self._at_once = at_once
        while self._free > 0 and any(not turn.done() for turn in self._waiting):
            self._free -= 1
            self._next()

    @contextlib.asynccontextmanager
    async def turn(self, report: Progress) -> AsyncIterator[None]:
        """Wait for one's turn; its end lets the next one go."""
        if self._free > 0:
            self._free -= 1
        else:
            await self._wait(report)
        begun = time.monotonic()
        try:
            yield
            self._took.append(time.monotonic() - begun)
        finally:
            self._pass_on()

    async def _wait(self, report: Progress) -> None:
        """Return when somebody has passed the turn on to us."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        told = 0
        try:
            while not turn.done():
                place = 1 + list(self._waiting).index(turn)
                if place != told:
                    report(self._words(place))
                    told = place
                await asyncio.wait([turn], timeout=tell_again_s(place))
        except asyncio.CancelledError:
            if turn.done():
                self._pass_on()
            raise
        finally:
            self._waiting.pop(turn, None)

    def _pass_on(self) -> None:
        if self._free < 0 or not self._next():
            self._free += 1

    def _next(self) -> bool:
        """Whether somebody waited whose turn it is now."""
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
                return True
        return False

    def _words(self, place: int) -> str:
        text = f"Many are starting now: you are number {place} in the queue"
        if not self._took:
            return text
        seconds = statistics.mean(self._took) * (1 + (place - 1) // self._at_once)
        return f"{text}, about {max(1, round(seconds))} s to go"


def tell_again_s(place: int) -> float:
    """After how many seconds somebody is told the place again, if it has changed. ``place``: counted from 1."""
    return max(TELL_EVERY_S, place / TOLD_PER_S)
