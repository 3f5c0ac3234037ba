"""Runs build tools: lines for people while they run, the end of their output when they fail."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO

from hubfleet.agent.base import Progress
from hubfleet.errors import ApplyError

HEARTBEAT_SECONDS = 10.0
SHOWN_LINES = 15
CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")


def without_frames(lines: Sequence[str]) -> list[str]:
    """What a log says of errors, without the places in the code: of each traceback the last line only."""
    kept: list[str] = []
    inside: int | None = None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.strip() == "Traceback (most recent call last):":
            inside = indent
        elif inside is None or (line.strip() and indent <= inside):
            inside = None
            kept.append(line)
    return kept


def run_tool(
    what: str,
    command: Sequence[str],
    *,
    progress: Progress,
    cwd: str,
    environ: Mapping[str, str],
    holding: Sequence[int] = (),
) -> None:
    """Runs `command` to its end and reports "<what>", then "<what> (10 s)" every ten seconds.

    holding: descriptors that the tool and its children keep open (a lock must last as long as they live).
    Raises ApplyError with the last lines of output; names and passwords in addresses are masked.
    """
    progress(what)
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=holding,
        )
        try:
            while not _ended(process):
                progress(f"{what} ({time.monotonic() - started:.0f} s)")
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode != 0:
            raise ApplyError(f"{what} failed:\n{_tail(output)}")


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(HEARTBEAT_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _tail(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode(errors="replace").strip().splitlines()[-SHOWN_LINES:]
    return "\n".join(f"    {CREDENTIALS.sub('********@', line)}" for line in lines)
