"""Run the real command as a person would: in a pipe, or on a terminal of its own."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

COMMAND = [sys.executable, "-m", "hubfleet"]
PATIENCE_S = 60


@dataclass(frozen=True)
class Done:
    """What became of a command. ``cpu``: seconds of processor time, which a busy machine does not change much."""

    code: int
    out: str
    err: str
    cpu: float


def environment(folder: Path) -> dict[str, str]:
    """This environment, with state and cache in the folder, and nothing that chooses colours or widths."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    own = {"HUBFLEET_STATE_DIR": str(folder / "state"), "XDG_CACHE_HOME": str(folder / ".cache")}
    return {**kept, **own, "TERM": "xterm-256color", "LANG": "C.UTF-8"}


def run(folder: Path, *arguments: str) -> Done:
    """Run ``hubfleet ARGUMENTS`` in the folder, without a terminal and without input."""
    with open(folder / ".out", "w+") as out, open(folder / ".err", "w+") as err:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        done = Done(process.returncode, out.read(), err.read(), usage.ru_utime + usage.ru_stime)
    (folder / ".out").unlink()
    (folder / ".err").unlink()
    return done


class Terminal:
    """A command on a terminal of 80 columns. ``text`` is all that it has shown so far."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.text = ""
        self._own, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=folder,
            env={**environment(folder), "COLUMNS": "80", **variables},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)

    def await_text(self, text: str) -> None:
        """Wait until the command has shown this."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.text:
            assert time.monotonic() < deadline, f"{text!r} was not shown, but:\n{self.text}"
            assert self._read(), f"the command ended without showing {text!r}, but:\n{self.text}"

    def type(self, keys: str) -> None:
        """Send keys, once the command waits: ``\\x03`` is Ctrl-C, ``\\x04`` is Ctrl-D.

        Python looks for signals before it waits for input, and not in between: one that comes just then is heard only
        after the next key.
        """
        stat = Path(f"/proc/{self._process.pid}/stat")
        deadline = time.monotonic() + PATIENCE_S
        while stat.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline, f"it does not wait for a key, after:\n{self.text}"
            time.sleep(0.01)
        os.write(self._own, keys.encode())

    def end(self) -> int:
        """Wait for the end; the exit code."""
        while self._read():
            pass
        os.close(self._own)
        return self._process.wait(PATIENCE_S)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._own], [], [], PATIENCE_S)
        assert ready, f"nothing happens any more; so far:\n{self.text}"
        try:
            data = os.read(self._own, 65536)
        except OSError:  # how Linux says that nobody has the other end open
            return False
        self.text += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


def hear_ctrl_c() -> None:
    """For ``preexec_fn``: tests that run in the background ignore SIGINT, and what they start would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _take_terminal() -> None:
    import fcntl
    import termios

    hear_ctrl_c()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches the command
