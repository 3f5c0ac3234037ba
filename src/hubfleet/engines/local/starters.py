"""Gives each server its starter of kernels (see ``forkserver/starter.py``), once the server is up.

The server gets its end of a socket when it is made, and may ask from then on; nobody waits for the starter. A server
whose starter cannot be made finds the other end closed, and starts its kernels plainly.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubfleet.engines.local import specification
from hubfleet.forkserver import kernels
from hubfleet.forkserver.client import ForkServer


class Place:
    """What a starter needs of a server: an end of a socket, the server's process, its log. Closed once it has them.

    ``theirs``: the server's end.
    """

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output = self._server = -1
        self.spec: dict[str, Any] = {}

    def of(self, pid: int, output: int, spec: Mapping[str, Any]) -> None:
        """Call when there is the server, with its specification."""
        self.theirs.close()
        self.spec = specification.starter(spec)
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            self._server = os.pidfd_open(pid)
            self._output = os.dup(output)

    @property
    def descriptors(self) -> list[int]:
        """For the starter; none where there is nobody to make one for."""
        return [] if self._server == -1 else [self._output, self._ours.fileno(), self._server]

    def close(self) -> None:
        """Let go of everything."""
        self._ours.close()
        self.theirs.close()
        for descriptor in {self._output, self._server} - {-1}:
            os.close(descriptor)
        self._output = self._server = -1


class Starters:
    """Keeps the parent of kernels, and asks it for starters."""

    def __init__(self, python: Path, log: Path) -> None:
        self._forks = ForkServer(python, log, program=kernels.__file__, name="the parent of kernels", what="kernels")
        self._making: set[asyncio.Task[None]] = set()

    def open(self, settings: Mapping[str, Any]) -> None:
        """See ForkServer."""
        self._forks.open(settings)

    async def close(self) -> None:
        """See ForkServer. Starters go on."""
        for task in self._making:
            task.cancel()
        await asyncio.gather(*self._making, return_exceptions=True)
        await self._forks.close()

    def give(self, place: Place) -> None:
        """Have a starter made there; returns at once."""
        task = asyncio.create_task(self._give(place))
        self._making.add(task)
        task.add_done_callback(self._making.discard)

    async def _give(self, place: Place) -> None:
        try:
            pid = await self._forks.spawn(place.spec, *place.descriptors) if place.descriptors else None
            if pid is not None:
                self._forks.forget(pid)
        finally:
            place.close()
