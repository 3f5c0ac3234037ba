"""One operator at a time: a lock that the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from hubfleet.errors import LockedError


@dataclass(frozen=True)
class Holder:
    """Who holds the lock. since: local time, such as "2026-11-21 14:03:05"."""

    user: str
    pid: int
    since: str
    host: str

    def __str__(self) -> str:
        return f"{self.user} (process {self.pid} on {self.host}, since {self.since})"


@contextmanager
def hold(state_dir: Path) -> Iterator[Holder]:
    """Holds `<state_dir>/lock` for the body; makes the directory (mode 0755) if it is not there.

    Raises LockedError at once, with the holder's name, if another process (or another `hold`) has it.
    Programs started in the body do not inherit the lock; a bare `os.fork` would.
    """
    Path(state_dir).mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(Path(state_dir) / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)  # whoever can open it can hold it, and keep everybody out
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{_read(descriptor)} is changing this hub now",
                state="Nothing was changed",
                remedy="wait until that is finished, then run the same command again",
            ) from None
        holder = Holder(
            user=os.environ.get("SUDO_USER") or getpass.getuser(),
            pid=os.getpid(),
            since=time.strftime("%Y-%m-%d %H:%M:%S"),
            host=os.uname().nodename,
        )
        try:
            with suppress(OSError):  # a full disk costs the name, not the lock
                _write(descriptor, json.dumps(asdict(holder)))
            yield holder
        finally:
            with suppress(OSError):
                _write(descriptor, "")
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> str:
    patience = time.monotonic() + 1
    while time.monotonic() < patience:
        try:
            return str(Holder(**json.loads(os.pread(descriptor, 4096, 0))))
        except (ValueError, TypeError):
            time.sleep(0.01)  # the holder has only just got the lock, and has not written its name yet
    return "somebody else"


def _write(descriptor: int, text: str) -> None:
    os.pwrite(descriptor, text.encode(), 0)
    os.ftruncate(descriptor, len(text.encode()))
