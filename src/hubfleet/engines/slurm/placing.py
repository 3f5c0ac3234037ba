"""What runs on the login node for a submission: puts files where only their owner can read them, and submits a job.

It is sent there by standard input, with what it is to do behind it, so that nothing of that is in anybody's view.
Standard library only, Python 3.9 or newer. It prints one line: the mark that it was told, and an answer in JSON.

All of a submission is done here, under a lock: whoever lost the answer asks again, and is told of the job that there
is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pwd
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

FOLDER = ".hubfleet"
"""In the home of the account, where no other directory is named."""
LOCK = "lock"
SQUEUE_LIMIT_S = 15
SBATCH_LIMIT_S = 45
MOST_READ = 65536
_LEFT = re.compile(r"([0-9a-f]{8,64})\.[a-z]+")
_NUMBER = re.compile(r"(\d+)(;\S*)?")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OVER = frozenset(
    {
        *("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE"),
        "OUT_OF_MEMORY",
        "COMPLETING",  # a job that is just ending reads none of its files any more
    }
)


class Away(Exception):
    """Slurm does not answer, so that nothing is known."""


def main() -> None:
    wanted = json.loads(sys.stdin.buffer.read())
    os.umask(0o077)
    try:
        answer = {"submit": submit, "discard": discard, "read": read}[wanted["verb"]](wanted)
    except Away as error:
        answer = {"away": str(error)}
    except OSError as error:
        answer = {"unusable": f"{error.filename or 'the directory of its files'}: {error.strerror}"}
    sys.stdout.write(f"\n{wanted['mark']}{json.dumps(answer)}\n")
    sys.stdout.flush()


def submit(wanted: dict[str, Any]) -> dict[str, Any]:
    """Submit a job, unless there is one of this start. Nothing of it is left where Slurm refuses it."""
    place = opened(wanted, make=True)
    with locked(place, wanted["wait"]):
        for job, state, tag in jobs(wanted):
            if tag == wanted["tag"]:
                return {"id": job, "found": True}
            if state not in _OVER:
                return {"taken": job}
        clear(place, None)  # of earlier starts, whose jobs are over
        try:
            for name, text in wanted["files"].items():
                write(place, f"{wanted['tag']}.{name}", text)
            number, said = sbatch(wanted, place)
        except OSError:
            clear(place, wanted["tag"])
            raise
        if number is None:
            number = next((found for found, _, tag in jobs(wanted) if tag == wanted["tag"]), None)
        if number is not None:
            return {"id": number, "found": False}
        if said is None:
            raise Away("sbatch has not answered in time")
        clear(place, wanted["tag"])
        return {"refused": said}


def discard(wanted: dict[str, Any]) -> dict[str, Any]:
    """Remove the files of a start. What is not there is removed."""
    with contextlib.suppress(FileNotFoundError):
        clear(opened(wanted, make=False), wanted["tag"])
    return {}


def read(wanted: dict[str, Any]) -> dict[str, Any]:
    """The end of a file in the server's directory; "" where there is none."""
    try:
        file = os.open(wanted["file"], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened(wanted, make=False))
    except FileNotFoundError:
        return {"text": ""}
    with open(file, "rb") as opened_file:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is no file", wanted["file"])
        opened_file.seek(max(0, found.st_size - MOST_READ))
        return {"text": opened_file.read(MOST_READ).decode(errors="replace")}


# -- the directory ---------------------------------------------------------------------------------------------------


def opened(wanted: dict[str, Any], make: bool) -> int:
    """A descriptor of the server's directory, which is its owner's only. No link is followed below what the site made.

    Raises OSError for a directory that is somebody else's, or that others may write to.
    """
    base = wanted["base"]
    place = os.open(base or pwd.getpwuid(os.geteuid()).pw_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in [*([] if base else [FOLDER]), wanted["name"]]:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=place)
        inner = os.open(name, _DIRECTORY, dir_fd=place)
        os.close(place)
        place, found = inner, os.fstat(inner)
        if found.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "belongs to another account", name)
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.fchmod(place, 0o700)
    return place


def write(place: int, name: str, text: str) -> None:
    """Make a file that only its owner can read, never through what somebody else has put there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=place)
    file = os.open(name, _NEW, 0o600, dir_fd=place)
    with open(file, "w", encoding="utf-8") as output:
        output.write(text)
        output.flush()
        os.fsync(file)  # a full disk tells now, and not when the job reads it


def clear(place: int, tag: str | None) -> None:
    """Remove the files of a start; with None those of all."""
    for name in os.listdir(place):
        match = _LEFT.fullmatch(name)
        if match and tag in (None, match[1]):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=place)


@contextlib.contextmanager
def locked(place: int, wait: float) -> Iterator[None]:
    """Alone with a server's directory. Where its disk knows no locks, Slurm's rule of one job a name has to do."""
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=place)
    end = time.monotonic() + wait
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Away("another submission of the same server is on its way") from None
                time.sleep(0.05)
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                break
        yield
    finally:
        os.close(lock)


# -- Slurm -----------------------------------------------------------------------------------------------------------


def environment(wanted: dict[str, Any]) -> dict[str, str]:
    """Slurm's commands take options from variables too, before those of a script: nobody's profile may set them."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("SBATCH_", "SLURM_", "SQUEUE_"))}
    if "SLURM_CONF" in os.environ:
        kept["SLURM_CONF"] = os.environ["SLURM_CONF"]
    path = ":".join(part for part in (wanted["programs"], kept.get("PATH", os.defpath)) if part)
    return {**kept, "PATH": path, "LC_ALL": "C"}


def jobs(wanted: dict[str, Any]) -> list[tuple[int, str, str]]:
    """Number, state and tag of each job of this name and account that Slurm knows. Raises Away."""
    mark = wanted["mark"]
    command = ["squeue", "--noheader", "--states=all", f"--name={wanted['name']}", "--user", str(os.geteuid())]
    command.append(f"--format={mark}%A{mark}%T{mark}%k")
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment(wanted),
            timeout=SQUEUE_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise Away("squeue has not answered in time") from None
    except FileNotFoundError:
        raise Away("there is no squeue on the login node") from None
    if done.returncode != 0:
        raise Away(f"squeue: {done.stderr.strip()}")
    rows = [line.split(mark)[1:] for line in done.stdout.split("\n")]
    return [(int(row[0]), row[1].strip(), row[2].strip()) for row in rows if len(row) == 3 and row[0].isdigit()]


def sbatch(wanted: dict[str, Any], place: int) -> tuple[int | None, str | None]:
    """Submit the script from the server's directory. The number of the job, or what was said; None when not known."""
    os.fchdir(place)
    try:
        done = subprocess.run(
            ["sbatch", "--parsable"],
            input=wanted["script"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment(wanted),
            timeout=SBATCH_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return None, None
    for line in reversed(done.stdout.split()):
        match = _NUMBER.fullmatch(line)
        if match and done.returncode == 0:
            return int(match[1]), ""
    return None, done.stderr.strip() or f"sbatch ended with {done.returncode} and without a word"


if __name__ == "__main__":
    main()
