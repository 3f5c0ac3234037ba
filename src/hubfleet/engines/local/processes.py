"""Find a process again, even one that is not our child, without mistaking another for it.

A process id alone is reused by the kernel; together with the boot and the process's start time it is unique.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hubfleet.supervisor.spec import identity


@dataclass(frozen=True)
class ProcessHandle:
    """One process for as long as it lives. ``start``: clock ticks after boot."""

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessHandle:
        """The handle of a process that exists now; one that has just ended gets a handle that is not alive."""
        return cls(pid, *(identity(pid) or (-1, "")))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProcessHandle:
        return cls(data["pid"], data["start"], data["boot"])

    def to_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "start": self.start, "boot": self.boot}

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return identity(self.pid) == (self.start, self.boot)

    def open(self) -> int | None:
        """A descriptor that becomes readable when the process ends; None when it has ended. The caller closes it."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if not self.alive():  # the id was reused between our record and now
            os.close(descriptor)
            return None
        return descriptor

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to this process and no other; False when it has ended."""
        descriptor = self.open()
        if descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    async def wait(self, limit: float) -> bool:
        """Wait for the end of the process, ``limit`` seconds at most; True when it has ended."""
        descriptor = self.open()
        if descriptor is None:
            return True
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), limit)
        except asyncio.TimeoutError:
            return False
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return True
