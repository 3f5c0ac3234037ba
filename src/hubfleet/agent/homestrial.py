"""Tries whether people's homes can be in a directory that several machines share, in a small directory of its own.

The machine that makes homes makes it, and gives it to an id as it does with a home. The machines with servers write in
it under that id, and read what the others wrote. Then it is removed: by who made it, or at the latest with the
connection of who asked for it. One that a dead machine has left goes when another is made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PREFIX = ".hubfleet-trial-"
LIMIT_S = 15.0
"""How long one step may take: a file system whose server is away may not answer at all."""
SEEN_S = 10.0
"""How long what another machine has made is waited for."""
OLD_S = 600.0
"""No trial takes as long: one that is older has nobody who would remove it."""
SEE, MAKE, GIVE, WRITE, READ = "see", "make", "give", "write", "read"
"""The steps, as they are named where one fails."""
OWNER, CONTENT = 250, 251
"""What is wrong, beside the numbers of `errno`: it belongs to another id; there is something else in it."""

Failure = tuple[str, int]
"""The step that failed and why, by `errno` or one of the two above; ("", 0) for none."""
_FINE: Failure = ("", 0)
_NAME = re.compile(re.escape(PREFIX) + "[0-9a-f]{16}")
_EVERY_S = 0.2
_made: set[tuple[str, str]] = set()
"""What this process has made and not removed."""


def make(place: str, uid: int, gid: int) -> tuple[str, Failure]:
    """Make a new one in ``place`` and give it away; its name, or "" where that fails: nothing is left then."""
    try:
        parent = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        return "", (SEE, error.errno or errno.EIO)
    name = f"{PREFIX}{secrets.token_hex(8)}"
    try:
        failure = _make(parent, name, uid, gid)
        if failure == _FINE:
            _made.add((place, name))
            _sweep(place, parent, name)
            return name, failure
        with contextlib.suppress(OSError):  # as where it could not be made
            os.rmdir(name, dir_fd=parent)
        return "", failure
    finally:
        os.close(parent)


def _make(parent: int, name: str, uid: int, gid: int) -> Failure:
    step = MAKE
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
        # What is given away is what was made: somebody who may write there could have put something in its place.
        made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            if os.fstat(made).st_uid != os.geteuid():
                return MAKE, OWNER
            step = GIVE
            os.fchown(made, uid, gid)
            found = os.fstat(made)
            return _FINE if (found.st_uid, found.st_gid) == (uid, gid) else (GIVE, OWNER)
        finally:
            os.close(made)
    except OSError as error:
        return step, error.errno or errno.EIO


def _sweep(place: str, parent: int, newest: str) -> None:
    """Remove what a trial that died has left. By the clock of the file system: others have made these."""
    now = os.stat(newest, dir_fd=parent).st_mtime
    with os.scandir(place) as entries:
        ours = [entry for entry in entries if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)]
    for entry in ours:
        with contextlib.suppress(OSError):  # another trial may be at it
            if now - entry.stat(follow_symlinks=False).st_mtime > OLD_S:
                remove(place, entry.name)


def remove(place: str, name: str) -> None:
    """Remove one, if it is still there. Raises OSError; ValueError for what is none."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name} is no trial's")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(os.path.join(place, name))
    _made.discard((place, name))


def leave() -> None:
    """Remove what is left of all that this process has made. It fails for nobody: the next trial would do it."""
    for place, name in tuple(_made):
        with contextlib.suppress(OSError):
            remove(place, name)


def write(place: str, name: str, file: str, word: str, uid: int, gid: int) -> Failure:
    """Write a file into it as this user, who has no other rights."""

    def act(folder: int) -> None:
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        os.write(made, word.encode())
        os.fsync(made)
        os.close(made)

    return _in(place, name, WRITE, act, uid, gid)


def read(place: str, name: str, words: Mapping[str, str], uid: int, gid: int) -> dict[str, Failure]:
    """Read as this user what each of the others wrote: by file, what came of it."""

    def look(file: str) -> Failure:
        def act(folder: int) -> None:
            there = os.open(file, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
            if os.fstat(there).st_uid != uid:
                raise OSError(OWNER, "of somebody else")
            if os.read(there, 4096) != words[file].encode():
                raise OSError(CONTENT, "something else")

        return _in(place, name, READ, act, uid, gid)

    end = time.monotonic() + SEEN_S
    found = {file: look(file) for file in words}
    while (late := [file for file, (_, why) in found.items() if why in (errno.ENOENT, CONTENT)]) and _soon(end):
        found.update({file: look(file) for file in late})
    return found


def _in(place: str, name: str, step: str, act: Callable[[int], None], uid: int, gid: int) -> Failure:
    """Do something in it as this user. It is entered by root, as it is when a home is shown to a server: who has a home
    need not be allowed into the directories above."""
    end = time.monotonic() + SEEN_S
    while True:
        try:
            folder = os.open(os.path.join(place, name), os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
            break
        except OSError as error:
            if error.errno != errno.ENOENT or not _soon(end):
                return SEE, error.errno or errno.EIO
    try:
        if os.fstat(folder).st_uid != uid:
            return SEE, OWNER
        why = _as_user(uid, gid, lambda: act(folder))
        return (step, why) if why else _FINE
    finally:
        os.close(folder)


def _soon(end: float) -> bool:
    """Whether to look again, a moment later."""
    if time.monotonic() > end:
        return False
    time.sleep(_EVERY_S)
    return True


def _as_user(uid: int, gid: int, act: Callable[[], None]) -> int:
    """By `errno`, what comes of it when somebody else does it; 0: nothing goes wrong.

    In a process of its own, which can be waited for no longer, and whose end is all that it has to say.
    """
    ended, open_end = os.pipe()
    child = os.fork()
    if child == 0:
        code = errno.EIO
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            act()
            code = 0
        except OSError as error:
            code = error.errno or errno.EIO
        finally:
            os._exit(code if code < 256 else errno.EIO)
    os.close(open_end)
    with _closing(ended):
        if not select.select([ended], [], [], LIMIT_S)[0]:
            os.kill(child, signal.SIGKILL)  # which may wait as long as the file system does
            return errno.ETIMEDOUT
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else errno.EINTR


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


STEPS: dict[str, Callable[..., Any]] = {"make": make, "write": write, "read": read, "remove": remove}
"""What can be asked for."""
