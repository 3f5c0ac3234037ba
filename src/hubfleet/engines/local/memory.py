"""Notices programs of servers that the kernel has ended for their memory, and says so in the server's log.

The kernel ends one program of a server that goes over its limit: a notebook's kernel, as a rule. The server goes on and
starts another, and nobody would learn why the variables are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path

from hubfleet.engines.local.cgroups import Cgroups
from hubfleet.engines.local.processes import ProcessHandle
from hubfleet.launcher.base import Record
from hubfleet.logfiles import open_log
from hubfleet.units import Bytes

logger = logging.getLogger("hubfleet.launcher")

LOOK_EVERY_S = 2.0


class MemoryWatch:
    """Looks at the kernel's counts of all servers that run."""

    def __init__(self, cgroups: Cgroups) -> None:
        self._cgroups = cgroups
        self._known: dict[str, tuple[Record, int]] = {}
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to look, every two seconds."""
        self._task = asyncio.create_task(self._look_again_and_again())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def keep(self, record: Record) -> None:
        """Look at this server as well; what was counted until now is told by others, or long past."""
        self._known[record.id] = (record, self._cgroups.kills_for_memory(record.id))

    def forget(self, record: Record) -> None:
        """Look at it no more."""
        if record.id in self._known and self._known[record.id][0] is record:
            del self._known[record.id]

    def look(self) -> None:
        """Note what has happened since the last look. Of a server that has ended itself, the launcher tells why."""
        for record, told in list(self._known.values()):
            killed = self._cgroups.kills_for_memory(record.id)
            if killed > told and ProcessHandle.from_json(record.handle).alive():
                self._known[record.id] = (record, killed)
                self._note(record, killed - told)

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                self.look()
            except OSError as error:  # a disk that is full, say
                logger.warning("cannot look for programs ended for their memory: %s", error)

    def _note(self, record: Record, killed: int) -> None:
        limit = self._cgroups.memory_limit(record.id)
        over = "the memory limit" if limit is None else f"the memory limit of {Bytes(limit)}"
        what = (
            f"a kernel (or another program of this server) went over {over} and was ended"
            if killed == 1
            else f"{killed} kernels (or other programs of this server) went over {over} and were ended"
        )
        output = open_log(Path(record.log))
        try:
            os.write(output, f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {what}\n".encode())
        finally:
            os.close(output)
