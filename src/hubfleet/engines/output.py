"""What servers print, kept by the launcher in files of its own: a user can write to none of them.

The engine's own copy ends with the container, and the words of a server that has failed are wanted after that.
"""

from __future__ import annotations

import asyncio
import calendar
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from hubfleet.engines.dockerapi import EngineAway, Refused
from hubfleet.engines.ending import end
from hubfleet.logfiles import open_log, rotate

AGAIN_S = 1.0
REST_LIMIT_S = 5.0  # for what is still to come from a container that has ended
_BURST_BYTES, _BURST_PAUSE_S = 1 << 18, 0.25
"""A server that prints without end gets 1 MB a second of the launcher's time, not all of it."""


class Outputs:
    """Follows each server's container into its log.

    ``follow``: what a container prints from a time on, see ``Api.follow``. ``ended``: whether it prints nothing more.
    """

    def __init__(
        self, follow: Callable[[str, str], AsyncIterator[str]], ended: Callable[[str], Awaitable[bool]]
    ) -> None:
        self._said = follow
        self._ended = ended
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def follow(self, container: str, log: Path, fresh: bool) -> None:
        """Begin, unless it is followed already. ``fresh``: nothing of this container is in the log yet."""
        if container not in self._tasks:
            since = 0 if fresh or not log.exists() else log.stat().st_mtime_ns
            self._tasks[container] = asyncio.create_task(self._follow(container, log, since))

    def follows(self, container: str) -> bool:
        return container in self._tasks

    async def finish(self, container: str, wait: bool = True) -> None:
        """Follow it no more; first wait for the rest of what a container that has ended has printed."""
        task = self._tasks.pop(container, None)
        if task is not None:
            if wait:
                await asyncio.wait([task], timeout=REST_LIMIT_S)
            task.cancel()

    async def close(self) -> None:
        """Stop following. The next launcher goes on from the time of the log file."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        await end(tasks)

    async def _follow(self, container: str, log: Path, since: int) -> None:
        while True:
            try:
                since = await self._copy(container, log, since)
                if await self._ended(container):
                    await self._copy(container, log, since)  # what came between the two
                    return
            except (EngineAway, OSError):
                pass
            except Refused:
                return
            await asyncio.sleep(AGAIN_S)

    async def _copy(self, container: str, log: Path, since: int) -> int:
        """Append to the log what was printed at ``since`` (ns since 1970) or later; returns where to go on."""
        burst = 0
        with contextlib.suppress(EngineAway):
            async for piece in self._said(container, f"{since // 10**9}.{since % 10**9:09d}"):
                stamp, _, text = piece.partition(" ")
                since = (_nanoseconds(stamp) or since) + 1
                burst += len(text)
                append(log, text)
                if burst > _BURST_BYTES:
                    burst = 0
                    rotate(log)
                    await asyncio.sleep(_BURST_PAUSE_S)
        return since


def append(log: Path, text: str) -> None:
    """Write to a server's log. Raises OSError."""
    output = open_log(log)
    try:
        os.write(output, text.encode(errors="replace"))
    finally:
        os.close(output)


def _nanoseconds(stamp: str) -> int | None:
    """From the engine's 2026-01-31T10:20:30.123456789Z."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    try:
        seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
        return seconds * 10**9 + int(fraction.ljust(9, "0")[:9] or 0)
    except ValueError:
        return None
