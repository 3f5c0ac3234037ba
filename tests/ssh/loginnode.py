"""A login node: a real sshd, and an account that is let in there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
from sshd import Server

from waiting import soon

if TYPE_CHECKING:
    from hubfleet.engines.slurm.remote import Remote

Reached = Callable[..., "Remote"]
"""Makes connections: by default as the account, with the key that it knows."""


def sessions(login: Server) -> list[psutil.Process]:
    """The processes of its connections."""
    assert login.process is not None
    return psutil.Process(login.process.pid).children(recursive=True)


def cut(login: Server) -> None:
    """End all connections. What runs there for them goes on, as it does when a network is gone."""
    if login.process is not None:
        for process in sessions(login):
            with suppress(psutil.NoSuchProcess):  # one ends the other
                if process.name() == "sshd":
                    process.kill()


def drop(login: Server) -> None:
    """End all connections and what runs for them, as a login node that is rebooted."""
    if login.process is not None:
        for process in sessions(login):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        soon(lambda: not sessions(login))


async def until(look: Callable[[], bool], limit: float = 20.0) -> None:
    """As `soon`, while the loop goes on."""
    await asyncio.to_thread(soon, look, limit)
