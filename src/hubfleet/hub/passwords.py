"""Hashes and checks passwords beside the hub's loop, which goes on serving everybody else.

Each takes a third of a second of a processor. As many are done at once as the machine has processors; the others wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import bcrypt

from hubfleet.hub.line import Line

NOBODY = b"$2b$12$" + b"." * 53
"""No password's hash, and as much work to check as one: how long an answer takes does not tell who has signed up."""

line = Line()
"""Those who wait for a processor."""

_free = asyncio.Semaphore(len(os.sched_getaffinity(0)))


@contextlib.asynccontextmanager
async def _processor(ticket: str | None) -> AsyncIterator[None]:
    with line.stand(ticket):
        await _free.acquire()
    try:
        yield
    finally:
        _free.release()


async def hashed(password: str, ticket: str | None = None) -> bytes:
    """A new hash of a password of at most 72 bytes. ``ticket``: of whoever waits for it, in the line."""
    async with _processor(ticket):
        return await asyncio.to_thread(bcrypt.hashpw, password.encode(), bcrypt.gensalt())


async def matches(password: str, known: bytes, ticket: str | None = None) -> bool:
    """Whether a password of at most 72 bytes is the one that was hashed. ``ticket``: as in `hashed`."""
    async with _processor(ticket):
        return await asyncio.to_thread(bcrypt.checkpw, password.encode(), known)
