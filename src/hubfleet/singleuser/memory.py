"""Tells people in the cell itself that it was ended for its memory: "the kernel has died" alone explains nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

CGROUPS = Path("/sys/fs/cgroup")
SAME_DEATH_S = 1.0


def _group() -> tuple[Path, Path] | None:
    """The files with the server's memory limit and with the count of processes ended for it; None without a limit."""
    groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    one = [CGROUPS / "memory" / path.strip("/") for _, names, path in groups if "memory" in names.split(",")]
    two = [CGROUPS / path.strip("/") for _, names, path in groups if not names]
    found = [(group / "memory.limit_in_bytes", group / "memory.oom_control") for group in one]
    found += [(group / "memory.max", group / "memory.events") for group in two]
    return next((files for files in found if all(file.exists() for file in files)), None)


class Ended:
    """How many processes of this server the kernel has ended for their memory."""

    def __init__(self) -> None:
        self._files = _group()
        self._last: tuple[str, float] = ("", 0.0)
        self._known = self._seen = self._count()

    def _count(self) -> int:
        if self._files is None:
            return 0
        counts = dict(line.split() for line in self._files[1].read_text().splitlines())
        return int(counts.get("oom_kill", 0))

    def look(self) -> None:
        """Take note, every now and then. What was there at the look before was no kernel that has just died.

        Jupyter notices a death seconds later, so what the latest look has seen may still be one.
        """
        self._known, self._seen = self._seen, self._count()

    def for_memory(self, kernel: str) -> bool:
        """Whether a kernel that has just died died of it. Every page that shows the kernel may ask."""
        count, now = self._count(), time.monotonic()
        if count > self._known:
            self._known = self._seen = count
            self._last = (kernel, now)
        return self._last[0] == kernel and now - self._last[1] < SAME_DEATH_S

    @property
    def limit(self) -> str:
        """The memory limit in words."""
        assert self._files is not None
        return f"{int(self._files[0].read_text()) / 1024**2:.0f} MB"


ended = Ended()


class Connection(ZMQChannelsWebsocketConnection):
    """Jupyter's connection between a page and a kernel; it knows which cell runs."""

    _running: Any = None  # header of the request whose cell runs

    def handle_outgoing_message(self, stream: str, outgoing_msg: list[Any]) -> None:
        _, parts = self.session.feed_identities(outgoing_msg)
        if self.session.unpack(parts[1]).get("msg_type") == "execute_input":
            self._running = self.session.unpack(parts[2])
        super().handle_outgoing_message(stream, outgoing_msg)

    def on_kernel_restarted(self) -> None:
        if ended.for_memory(self.kernel_id):
            text = f"Ended: together with all else on this server it went over the memory limit of {ended.limit}."
            self.write_stderr(text, self._running or {})
        super().on_kernel_restarted()
