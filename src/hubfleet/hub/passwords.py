"""Hashes and checks passwords beside the hub's loop, which goes on serving everybody else.

Each takes a third of a second of a processor. As many are done at once as the machine has processors; the others wait.
"""

from __future__ import annotations

import asyncio
import os

import bcrypt

NOBODY = b"$2b$12$" + b"." * 53
"""No password's hash, and as much work to check as one: how long an answer takes does not tell who has signed up."""

_turns = asyncio.Semaphore(len(os.sched_getaffinity(0)))


async def hashed(password: str) -> bytes:
    """A new hash of a password of at most 72 bytes."""
    async with _turns:
        return await asyncio.to_thread(bcrypt.hashpw, password.encode(), bcrypt.gensalt())


async def matches(password: str, known: bytes) -> bool:
    """Whether a password of at most 72 bytes is the one that was hashed."""
    async with _turns:
        return await asyncio.to_thread(bcrypt.checkpw, password.encode(), known)
