"""The end of work that goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 0.5


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them and return when all have ended.

    More than once where that is needed: ``asyncio.wait_for`` lets a cancellation pass that comes together with what it
    waits for.
    """
    every = list(tasks)
    left = {task for task in every if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
    await asyncio.gather(*every, return_exceptions=True)
