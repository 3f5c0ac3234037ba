"""What a machine does again at each boot: units of systemd, and files of ours that they load.

Without systemd there are no units, and none are missed.
"""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

from hubfleet.agent import dockerengine, file
from hubfleet.agent.programs import call
from hubfleet.resources.base import Change
from hubfleet.resources.file import File

UNITS = Path("/etc/systemd/system")


def systemd() -> bool:
    """Whether it runs this machine."""
    return dockerengine.SYSTEMD.exists()


def write(path: Path, text: str, mode: int, folder: int = 0o755) -> None:
    """A file of root's. Its folder is made, with that mode, and the one above."""
    path.parent.parent.mkdir(mode=0o755, exist_ok=True)
    path.parent.mkdir(mode=folder, exist_ok=True)
    wanted = File(str(path), text, mode=mode)
    file.apply(wanted, Change(wanted, "update"), lambda line: None)


def forget(*paths: Path) -> None:
    """Removes files, and their folders if nothing else is in them."""
    for path in paths:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # somebody else's files are there, or it is gone already
            path.parent.rmdir()
            path.parent.parent.rmdir()


def same(path: Path, text: str) -> bool:
    """Whether that is what is in the file."""
    try:
        return path.read_text(encoding="utf-8") == text
    except FileNotFoundError:
        return False


def keep(unit: str, text: str, verb: str = "") -> None:
    """Has a unit begun at each boot; and now, if ``verb`` says how. Raises ApplyError with what systemd said."""
    if not systemd():
        return
    write(UNITS / unit, text, 0o644)
    for words in (["daemon-reload"], ["enable", unit], *([[verb, unit]] if verb else [])):
        call("systemctl", *words)


def kept(unit: str, text: str) -> bool:
    """Whether a unit is as wanted and switched on."""
    if not systemd():
        return True
    command = ["systemctl", "is-enabled", "--quiet", unit]
    return (
        same(UNITS / unit, text)
        and subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
    )


def end(unit: str) -> None:
    """Stops a unit, and forgets it."""
    path = UNITS / unit
    if path.exists():
        if systemd():
            call("systemctl", "disable", "--now", unit)
        path.unlink()
        if systemd():
            call("systemctl", "daemon-reload")
