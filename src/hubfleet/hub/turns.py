"""The hub prepares one start after another, so that the first are under way while it prepares the others.

A start is several steps for the hub, between which it waits for something. Of many that are asked for at once it would
take the first step of all, then the second of all: nobody's server would begin to start before everybody's is
prepared, and all processors but one would have nothing to do until then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from hubfleet.hub.line import Line, ticket_of

TURN_LIMIT_S = 0.1
"""A turn is a matter of the hub's own work. A start that waits for somebody else, a log-in provider say, is not waited
for by the others."""
PATIENCE_S = 10.0
"""Who waited so long for a turn goes on without one, to the page that tells how far the start is."""


class Turn:
    """Somebody's turn; `end` it when the hub's work is done."""

    def __init__(self, turns: Turns) -> None:
        self._turns: Turns | None = turns
        self._limit = asyncio.get_running_loop().call_later(TURN_LIMIT_S, self.end)

    def end(self) -> None:
        """Let the next one begin; nothing if this turn is over."""
        turns, self._turns = self._turns, None
        if turns is not None:
            self._limit.cancel()
            turns.pass_on()


class Turns:
    """One at a time, in the order of coming."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.line = Line()

    async def mine(self, ticket: str | None = None) -> Turn | None:
        """Wait for one's turn; None for somebody who has waited for long enough. The line tells one's place."""
        if self._taken:
            called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(called)
            try:
                with self.line.stand(ticket):
                    await asyncio.wait([called], timeout=PATIENCE_S)
            except asyncio.CancelledError:
                if not called.cancel():
                    self.pass_on()
                raise
            if called.cancel():
                return None
        self._taken = True
        return Turn(self)

    def pass_on(self) -> None:
        """Call the next one who still waits."""
        while self._waiting:
            called = self._waiting.popleft()
            if not called.done():
                called.set_result(None)
                return
        self._taken = False


class InTurn:
    """For handlers of requests that start servers: each waits for its turn before anything is looked up for it."""

    request: Any
    turns = Turns()
    starting_methods: tuple[str, ...] = ("POST",)
    _turn: Turn | None = None

    async def prepare(self) -> None:
        """As in JupyterHub, in turn."""
        if self.request.method in self.starting_methods:
            self._turn = await self.turns.mine(ticket_of(self))
        await super().prepare()  # type: ignore[misc]

    def end_turn(self) -> None:
        """The hub has done its part for now."""
        if self._turn is not None:
            self._turn.end()

    def on_finish(self) -> None:
        """As in JupyterHub; a request that has its answer needs no turn."""
        self.end_turn()
        super().on_finish()  # type: ignore[misc]
