"""Gives a server its starter of kernels (see ``forkserver/starter.py``) when it asks for its first kernel.

Until then nobody is at the other end of the server's socket but the launcher, which looks whether something has come
and leaves it there for the starter: it never reads what a server writes. Most servers that idle have no kernel, and a
starter would be a tenth of their memory. A server whose starter cannot be made finds the other end closed, and starts
its kernels plainly.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hubfleet.engines.local import specification
from hubfleet.engines.local.processes import ProcessHandle
from hubfleet.forkserver import kernels
from hubfleet.forkserver.client import ForkServer
from hubfleet.logfiles import open_log

CLOSING_LIMIT_S = 5.0  # less than the supervisor waits for the launcher


class Place(NamedTuple):
    """Where a starter will be: our end of the server's socket, the server, its log, the starter's specification."""

    asked: socket.socket
    server: ProcessHandle
    log: Path
    spec: dict[str, Any]


class Starters:
    """Keeps the parent of kernels, and asks it for starters."""

    def __init__(self, python: Path, log: Path) -> None:
        self._forks = ForkServer(python, log, program=kernels.__file__, name="the parent of kernels", what="kernels")
        self._waiting: dict[int, Place] = {}
        self._making: set[asyncio.Task[None]] = set()

    def open(self, settings: Mapping[str, Any]) -> None:
        """See ForkServer."""
        self._forks.open(settings)

    async def close(self) -> None:
        """See ForkServer. Starters go on; servers without one get theirs now, for the next launcher cannot give it."""
        for place in list(self._waiting.values()):
            self._leave(place)
            self._make(place)
        if self._making:
            await asyncio.wait(self._making, timeout=CLOSING_LIMIT_S)
        for task in self._making:
            task.cancel()
        await asyncio.gather(*self._making, return_exceptions=True)
        await self._forks.close()

    def keep(self, asked: socket.socket, server: ProcessHandle, log: Path, spec: Mapping[str, Any]) -> None:
        """Have a starter made for this server once it asks; ``asked`` is closed when nobody needs it any more."""
        place = Place(asked, server, log, specification.starter(spec))
        self._waiting[asked.fileno()] = place
        asyncio.get_running_loop().add_reader(asked, self._heard, place)

    def _leave(self, place: Place) -> None:
        asyncio.get_running_loop().remove_reader(place.asked)
        del self._waiting[place.asked.fileno()]

    def _heard(self, place: Place) -> None:
        self._leave(place)
        wanted = b""
        with contextlib.suppress(OSError):
            wanted = place.asked.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        if wanted:
            self._make(place)
        else:  # the server has ended
            place.asked.close()

    def _make(self, place: Place) -> None:
        task = asyncio.create_task(self._give(place))
        self._making.add(task)
        task.add_done_callback(self._making.discard)

    async def _give(self, place: Place) -> None:
        with place.asked, contextlib.ExitStack() as descriptors:
            server = place.server.open()
            if server is None:
                return
            descriptors.callback(os.close, server)
            output = open_log(place.log)
            descriptors.callback(os.close, output)
            pid = await self._forks.spawn(place.spec, output, place.asked.fileno(), server)
            if pid is not None:
                self._forks.forget(pid)
