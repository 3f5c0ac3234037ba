"""The batch script of a user's server. Pure; nothing secret is in it, for a cluster shows scripts to many.

What is not as it has to be is refused, not repaired: Slurm reads directives by rules of its own, with quotes and
comments in them, so values are of letters that have no meaning there.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from hubfleet.names import has_control, server_id

LONGEST_S = 365 * 86400
MOST_MEMORY = 64 * 1024 * 1024  # MiB
MOST_CPUS = 4096
MOST_GPUS = 128

_HUB = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}", re.ASCII)
_JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,191}", re.ASCII)
_TAG = re.compile(r"[0-9a-f]{8,64}", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9_@+=,./-]{1,1000}", re.ASCII)


def job_name(hub: str, user: str, server: str = "") -> str:
    """The name that every job of this server of this user has: the same one each time, and nobody else's.

    Raises ValueError for a hub's name that is none.
    """
    if not _HUB.fullmatch(hub):
        raise ValueError(f"a hub cannot be called {hub!r}")
    return f"hubfleet-{server_id(user, server)}@{hub}"  # "@" is in neither, so no two servers share a name


@dataclass(frozen=True)
class BatchJob:
    """What a job asks the cluster for, and what it runs.

    ``tag``: made up for this very start, by which its job is known from an earlier one of the same name. ``time_s``:
    how long it may run, in seconds. ``memory_mib``: of its node. ``output``: the file for what it says; without a
    directory it is in the one that it is submitted from. ``command``: the program and its arguments. ``prologue``:
    lines of shell before it, of the site's administrators (``module load ...``).

    Raises ValueError, which names the field, for anything that is not as it has to be.
    """

    name: str
    tag: str
    command: tuple[str, ...]
    time_s: int
    cpus: int
    memory_mib: int
    partition: str = ""
    gpus: int = 0
    gpu_kind: str = ""
    account: str = ""
    qos: str = ""
    reservation: str = ""
    output: str = "server.log"
    prologue: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field, pattern in (("name", _JOB_NAME), ("tag", _TAG)):
            _matching(field, getattr(self, field), pattern)
        for field in ("partition", "gpu_kind", "account", "qos", "reservation"):
            if (value := getattr(self, field)) != "":
                _matching(field, value, _NAME)
        _within("time_s", self.time_s, 60, LONGEST_S)
        _within("cpus", self.cpus, 1, MOST_CPUS)
        _within("memory_mib", self.memory_mib, 1, MOST_MEMORY)
        _within("gpus", self.gpus, 0, MOST_GPUS)
        _check_path("output", self.output)
        if not self.command:
            raise ValueError("command: there is none")
        for field, words in (("command", self.command), ("prologue", self.prologue)):
            for word in words:
                _one_line(field, word)
        for line in self.prologue:
            if line.lstrip().startswith("#SBATCH"):
                raise ValueError("prologue: what a job asks for is not written there (#SBATCH)")


def batch_script(job: BatchJob) -> str:
    """The script that `sbatch` reads from standard input."""
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH --{option}" for option in _options(job)),
        # The first command: from here on Slurm takes no line for a directive.
        "umask 077",
        # What is started by `srun` in a notebook shall have the notebook's environment.
        "unset SLURM_EXPORT_ENV",
        "export PATH=/usr/local/bin:/usr/bin:/bin",
        *job.prologue,
        f"exec {shlex.join(job.command)}",
    ]
    return "\n".join(lines) + "\n"


def _options(job: BatchJob) -> list[str]:
    gpus = f"gres=gpu:{f'{job.gpu_kind}:' if job.gpu_kind else ''}{job.gpus}" if job.gpus else ""
    named = ("partition", "account", "qos", "reservation")
    return [
        f"job-name={job.name}",
        f"comment={job.tag}",
        # One of this name and account at a time, whatever was submitted twice.
        "dependency=singleton",
        *(f"{option}={getattr(job, option)}" for option in named if getattr(job, option)),
        f"time={_clock(job.time_s)}",
        "nodes=1",
        "ntasks=1",
        f"cpus-per-task={job.cpus}",
        f"mem={job.memory_mib}M",
        *([gpus] if gpus else []),
        f"output={job.output}",
        "open-mode=append",
        "input=/dev/null",
        # Not the login node's environment: it is shown to who asks for the job's.
        "export=NIL",
        # What it needs to begin is there once only.
        "no-requeue",
        "mail-type=NONE",
    ]


def _clock(length: int) -> str:
    days, rest = divmod(length, 86400)
    return f"{days}-{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def _matching(field: str, value: str, pattern: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{field}: {value!r} cannot be written into a batch script")


def _within(field: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{field}: {value!r} is no whole number from {least} to {most}")


def _check_path(field: str, value: str) -> None:
    _matching(field, value, _PATH)
    parts = value.removeprefix("/").split("/")
    if value.startswith("-") or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{field}: {value!r} is no plain path")
    if "/" in value and not value.startswith("/"):
        raise ValueError(f"{field}: {value!r} has to be a name or begin with /")


def _one_line(field: str, value: str) -> None:
    if not isinstance(value, str) or has_control(value):
        raise ValueError(f"{field}: {value!r} is not one line of text")
