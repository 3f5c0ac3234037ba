"""The first program of a server in a container: learns from the launcher what to become, and becomes it.

``python -I -m hubfleet_singleuser.enter PATH``. What it learns (the hub's tokens are in it) is on no command line, in
no description of the container and on no disk. Standard library only.

On one machine PATH is a socket, at which the launcher tells it; the other side is ``engines/docker/door.py``. On many
it is a file in memory, which the swarm has brought; at the launcher's port is only said that the server is there, and
later that it is up. The other side is ``engines/swarm/doors.py``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import resource
import select
import socket
import stat
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

ATTEMPT_S = 0.3
"""How long one attempt to connect takes: a machine may learn of the way to another one only now."""
AGAIN_S = 0.05
SILENCE_S = 0.25
"""How long nothing may come back from where the rules let nobody through."""
_ATTEMPTS = 3  # at once: one packet may be lost
_NO_NEW_PRIVILEGES, _REFUSE, _FILTER = 38, 22, 2  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER
_FILTER_LINE = 8
_SIGNS = ("proc", "sys", "dev", "docker.sock", "lib", "log", "spool", "grub")
"""Names that tell a directory of the machine's own."""
_BTRFS_TOP = 256  # the inode of a subvolume's own directory


class _Filter(ctypes.Structure):
    """``struct sock_fprog`` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))


def enter(path: str) -> NoReturn:
    """Become the program that the launcher names. Raises OSError or ValueError when that does not go."""
    if stat.S_ISSOCK(os.stat(path).st_mode):
        _enter_by_socket(path)
    _enter_by_file(path)


def _enter_by_socket(path: str) -> NoReturn:
    door = socket.socket(socket.AF_UNIX)
    door.connect(path)
    with door.makefile("rw", encoding="utf-8") as lines:
        seen = {place: _identity(place) for place in json.loads(lines.readline())["look"]}
        lines.write(json.dumps(seen) + "\n")
        lines.flush()
        wanted: dict[str, Any] = json.loads(lines.readline())
    _become(wanted, door)


def _enter_by_file(path: str) -> NoReturn:
    wanted: dict[str, Any] = json.loads(Path(path).read_text())
    _gain_nothing()
    os.mkdir(wanted["private"], 0o700)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted["files"] if most == resource.RLIM_INFINITY else min(wanted["files"], most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, most))
    end = time.monotonic() + wanted["limit"]
    door = _connected(tuple(wanted["door"]), end)
    if wanted["probe"]:
        _await_rules(tuple(wanted["probe"]), end)
    with door.makefile("rw", encoding="utf-8") as lines:
        seen = {place: os.stat(place).st_ino for place in wanted["look"]}
        shown = _shown(wanted.get("show", ()))
        lines.write(json.dumps({"key": wanted["key"], "seen": seen, "shown": shown}) + "\n")
        lines.flush()
        if not lines.readline():
            raise OSError("nobody waits for this server (any more)")
    port, prefix = wanted["listen"]
    # At this address only: no other network of this container leads to the server.
    wanted["environment"]["JUPYTERHUB_SERVICE_URL"] = f"http://{door.getsockname()[0]}:{port}{prefix}"
    _become(wanted, door)


def _gain_nothing() -> None:
    """Let no program gain privileges: a service of the swarm has no option for it, and it cannot be taken back."""
    if ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "privileges could not be given up")


def _refuse(digits: str) -> None:
    """Have system calls refused to this program and all that it starts, by a filter as the kernel takes it."""
    lines = bytes.fromhex(digits)
    wanted = _Filter(len(lines) // _FILTER_LINE, lines)
    _gain_nothing()  # or else the kernel takes no filter
    if ctypes.CDLL(None, use_errno=True).prctl(_REFUSE, _FILTER, ctypes.byref(wanted), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "system calls could not be refused")


def _connected(door: tuple[str, int], end: float) -> socket.socket:
    while True:
        try:
            found = socket.create_connection(door, timeout=ATTEMPT_S)
        except OSError as error:
            if time.monotonic() > end:
                place = f"{door[0]}, TCP port {door[1]}"
                raise OSError(
                    f"the hub's machine cannot be reached in the fleet's network ({place}: {error})"
                ) from error
            time.sleep(AGAIN_S)
            continue
        found.settimeout(None)
        return found


def _await_rules(probe: tuple[str, int], end: float) -> None:
    """Return when the rules that keep servers apart are in force on this machine.

    The door has answered, so that there is a way to this address; what does not come back then has been dropped.
    """
    while _answered(probe):
        if time.monotonic() > end:
            raise OSError("the rules that keep servers apart are not in force on this machine")
        time.sleep(AGAIN_S)


def _answered(probe: tuple[str, int]) -> bool:
    """Whether anything comes back from there: a connection, or that there is none."""
    with contextlib.ExitStack() as made:
        attempts = [made.enter_context(socket.socket()) for _ in range(_ATTEMPTS)]
        for attempt in attempts:
            attempt.setblocking(False)
            attempt.connect_ex(probe)
        return bool(select.select([], attempts, [], SILENCE_S)[1])


def _become(wanted: dict[str, Any], door: socket.socket) -> NoReturn:
    if "refused" in wanted:
        _refuse(wanted["refused"])
    # Over the image's own variables; its PATH stays, behind the environment's.
    environment = {**os.environ, **wanted["environment"], **_elsewhere(wanted.get("when_full", {}))}
    environment["PATH"] = os.pathsep.join([os.path.dirname(wanted["argv"][0]), os.environ.get("PATH", os.defpath)])
    environment["JUPYTER_CONFIG_PATH"] = str(Path(__file__).parent)
    environment["SHELL"] = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    door.set_inheritable(True)
    environment["HUBFLEET_READY"] = str(door.fileno())  # the server says on it that it is up
    server = str(Path(__file__).with_name("server.py"))
    os.execve(sys.executable, [sys.executable, server, *wanted["argv"]], environment)


def _elsewhere(full: dict[str, Any]) -> dict[str, str]:
    """Variables for what cannot be made in a home that is full."""
    if not full:
        return {}
    found = os.statvfs(full["at"])
    if (found.f_bavail - 1) * found.f_frsize >= full["below"]:  # by NFS it is rounded up to a whole MB
        return {}
    return {name: other for name, (usual, other, file) in full["instead"].items() if not _has(usual, file)}


def _has(directory: str, file: str) -> bool:
    """Whether a directory is there, and an empty file in it, which is made if need be."""
    try:
        if file:
            open(os.path.join(directory, file), "a").close()
    except OSError:
        return False
    return os.path.isdir(directory)


def _shown(places: Collection[str]) -> dict[str, dict[str, Any]]:
    """By place, what is mounted exactly there. Places of which the kernel knows nothing are missing.

    ``type``: the kind of file system; ``root``: where in it this is; ``top``: it is all of it; ``has``: those of
    `_SIGNS` that are in it.
    """
    if not places:
        return {}
    table = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        table[_plain(fields[4])] = (_plain(fields[3]), after.split()[0])  # the last one lies on top
    found = {}
    for place in places:
        real = os.path.realpath(place)  # the image may have a link there
        if real in table:
            root, kind = table[real]
            top = root == "/" or (kind == "btrfs" and os.stat(real).st_ino == _BTRFS_TOP)
            has = [name for name in _SIGNS if os.path.lexists(f"{real}/{name}")]
            found[place] = {"type": kind, "root": root, "top": top, "has": has}
    return found


def _plain(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), field)


def _identity(place: str) -> tuple[int, int]:
    found = os.stat(place)
    return found.st_dev, found.st_ino


if __name__ == "__main__":
    try:
        enter(sys.argv[1])
    except (OSError, ValueError) as error:
        sys.exit(f"the server could not be entered: {error}")
