"""What Slurm's commands print, and what that says of jobs. Pure.

Every line that is asked for has a *mark* in it: letters made up for this one question. It stands before each field, so
that neither a banner of the login node nor a job's name or comment, which is for its user to choose, can be taken for a
line or a field.
"""

from __future__ import annotations

import calendar
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

PLAIN = ("env", "LC_ALL=C", "TZ=UTC0", "SLURM_TIME_FORMAT=standard")
"""How each command is begun: its words and times are then the same on every login node."""
MOST_NAMES = 60_000
"""Characters of names that a command is given; with more it is asked for all jobs. The system takes 128 KiB."""

_NONE = frozenset({"", "n/a", "none", "unknown", "(null)", "invalid", "partition_limit", "not_set"})
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_LENGTH = re.compile(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)")
_CANCELLED = re.compile(r"CANCELLED by (\d+)")
_CODES = re.compile(r"(\d+):(\d+)")
_SHOWN = re.compile(
    r"(?:^|\s)(JobState|Reason|ExitCode|TimeLimit|BatchHost|StartTime|EndTime|SubmitTime|Partition)=(\S*)"
)


class Phase(Enum):
    """Where a job is. Only ``ENDED`` means that nothing of it runs or will run."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    ENDING = "ending"
    ENDED = "ended"
    UNKNOWN = "unknown"


_PHASES = {
    Phase.WAITING: "PENDING REQUEUED REQUEUE_FED REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT",
    Phase.STARTING: "CONFIGURING POWER_UP_NODE",
    Phase.RUNNING: "RUNNING RESIZING SIGNALING EXPEDITING",
    Phase.PAUSED: "SUSPENDED STOPPED",
    Phase.ENDING: "COMPLETING STAGE_OUT UPDATE_DB",
    Phase.ENDED: "COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE OUT_OF_MEMORY REVOKED"
    " LAUNCH_FAILED RECONFIG_FAIL",
}
_PHASE_OF = {word: phase for phase, words in _PHASES.items() for word in words.split()}


def phase_of(state: str) -> Phase:
    """The phase that one of Slurm's words for a state means; a word of a later Slurm's is UNKNOWN, never an end."""
    return _PHASE_OF.get(state, Phase.UNKNOWN)


@dataclass(frozen=True)
class Job:
    """A job as Slurm told of it last.

    ``state`` and ``reason`` are Slurm's own words. ``begins``: when it began, or is expected to; ``ends``: when it
    ended, or will be ended; seconds since 1970, None where Slurm does not say. ``tag``: the comment that it was
    submitted with. ``code``, ``signal``: how its script ended; ``by``: uid of who cancelled it. ``limit``: seconds it
    may run.
    """

    id: int
    name: str
    user: str
    state: str
    reason: str = ""
    partition: str = ""
    node: str = ""
    submitted: float | None = None
    begins: float | None = None
    ends: float | None = None
    limit: float | None = None
    tag: str = ""
    code: int | None = None
    signal: int | None = None
    by: int | None = None

    @property
    def phase(self) -> Phase:
        return phase_of(self.state)

    @property
    def over(self) -> bool:
        return self.phase is Phase.ENDED


def new_mark() -> str:
    """Letters that nobody can have put into a name or a comment."""
    return f"@{secrets.token_hex(8)}@"


# -- all jobs at once ------------------------------------------------------------------------------------------------

_SQUEUE = ("%A", "%u", "%T", "%P", "%B", "%V", "%S", "%e", "%l", "%j", "%r", "%k")


def squeue(names: Iterable[str], mark: str, users: Sequence[str] = ()) -> list[str]:
    """The command that tells of all jobs of these names, also of those that ended a short while ago.

    ``users``: only of these accounts, since anybody can give a job any name.
    """
    wanted = ",".join(sorted(names))
    return [
        *(*PLAIN, "squeue", "--noheader", "--states=all"),
        *([f"--name={wanted}"] if wanted and len(wanted) <= MOST_NAMES else []),
        *([f"--user={','.join(users)}"] if users else []),
        f"--format={mark}{mark.join(_SQUEUE)}",
    ]


def listed(output: str, mark: str, names: Iterable[str], users: Sequence[str] = ()) -> dict[str, tuple[Job, ...]]:
    """The jobs of an answer to `squeue`, by name, the oldest first. Only of these names and accounts.

    A job that is missing is one that squeue does not list, which is not yet an end: see `sacct` and `scontrol`.
    """
    wanted, found = set(names), dict[str, list[Job]]()
    for fields in lines(output, mark, len(_SQUEUE)):
        job = _job(fields)
        if job is not None and job.name in wanted and (not users or job.user in users):
            found.setdefault(job.name, []).append(job)
    return {name: tuple(sorted(jobs, key=lambda job: job.id)) for name, jobs in found.items()}


def lines(output: str, mark: str, count: int) -> Iterable[list[str]]:
    """The fields of those lines of an answer that have this many, each after a mark."""
    for line in output.split("\n"):
        fields = [one.strip() for one in line.split(mark)][1:]  # a banner may end without a line's end
        if len(fields) == count:
            yield fields


def _job(fields: Sequence[str]) -> Job | None:
    number, user, state, partition, node, submitted, begins, ends, limit, name, reason, tag = fields
    if not whole(number):
        return None
    return Job(
        int(number),
        name,
        user,
        state,
        reason=_said(reason),
        partition=partition,
        node=_said(node),
        submitted=moment(submitted),
        begins=moment(begins),
        ends=moment(ends),
        limit=seconds(limit),
        tag=_said(tag),
    )


# -- how single ones ended -------------------------------------------------------------------------------------------

_SACCT = ("JobIDRaw", "User", "State", "Partition", "NodeList", "ExitCode", "Submit", "Start", "End", "JobName")


def sacct(jobs: Iterable[int], mark: str) -> list[str]:
    """The command that tells how these jobs ended, where the cluster keeps accounts of that."""
    wanted = ",".join(str(job) for job in sorted(jobs))
    asked = ("sacct", "--allocations", "--noheader", "--parsable2", f"--delimiter={mark}")
    # The mark comes between fields only, so the first is one that nobody reads.
    return [*PLAIN, *asked, f"--jobs={wanted}", f"--format=Cluster,{','.join(_SACCT)}"]


def accounted(output: str, mark: str) -> dict[int, Job]:
    """The jobs of an answer to `sacct`, by id. Of a job that was started again, the last time counts."""
    found = {}
    for fields in lines(output, mark, len(_SACCT)):
        if not whole(fields[0]):
            continue
        number, user, said, partition, node, codes, submitted, begins, ends, name = fields
        state = said.split(" ", 1)[0]
        who = _CANCELLED.fullmatch(said)
        code, signal = _exit(codes)
        found[int(number)] = Job(
            int(number),
            name,
            user,
            state,
            partition=partition,
            node=_said(node).removeprefix("None assigned"),
            submitted=moment(submitted),
            begins=moment(begins),
            ends=moment(ends),
            code=code,
            signal=signal,
            by=int(who[1]) if who else None,
        )
    return found


def scontrol(job: int) -> list[str]:
    """The command that tells of one job, for some minutes after its end as well."""
    return [*PLAIN, "scontrol", "--oneliner", "show", "job", str(job)]


def forgotten(errors: str) -> bool:
    """Whether what `scontrol` said on standard error is that Slurm has no such job (any more)."""
    return "Invalid job id specified" in errors


def shown(output: str, job: int, name: str) -> Job | None:
    """The job of an answer to `scontrol`; None when there is nothing of it in the answer."""
    begin = re.compile(rf"JobId={job} JobName={re.escape(name)} UserId=([^\s(]+)\(\d+\) ")
    found = begin.search(output)
    if not found:
        return None
    told = dict[str, str]()
    for key, value in _SHOWN.findall(output[found.end() :].split("\n", 1)[0]):
        told.setdefault(key, value)  # a comment comes last, and is for its user to write
    if "JobState" not in told:
        return None
    code, signal = _exit(told.get("ExitCode", ""))
    return Job(
        job,
        name,
        found[1],
        told["JobState"],
        reason=_said(told.get("Reason", "")),
        partition=told.get("Partition", ""),
        node=_said(told.get("BatchHost", "")),
        submitted=moment(told.get("SubmitTime", "")),
        begins=moment(told.get("StartTime", "")),
        ends=moment(told.get("EndTime", "")),
        limit=seconds(told.get("TimeLimit", "")),
        code=code,
        signal=signal,
    )


# -- words and numbers -----------------------------------------------------------------------------------------------


def moment(text: str) -> float | None:
    """A time as Slurm prints it, in seconds since 1970; None where it is not known."""
    if not _TIME.fullmatch(text):
        return None
    try:
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return None


def seconds(text: str) -> float | None:
    """A length of time as Slurm prints it: ``1-02:03:04``, ``02:03:04``, ``03:04``; None for none and for no limit."""
    match = _LENGTH.fullmatch(text)
    if not match:
        return None
    days, hours, minutes, rest = (int(one or 0) for one in match.groups())
    if match[1] and ":" not in text:
        return days * 86400.0 + rest * 3600.0  # "1-12": days and hours
    return days * 86400.0 + hours * 3600.0 + minutes * 60.0 + rest


def _said(text: str) -> str:
    return "" if text.lower() in _NONE else text


def _exit(text: str) -> tuple[int | None, int | None]:
    match = _CODES.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else (None, None)


def whole(text: str) -> int | None:
    """A number as Slurm prints it, also one that stands for itself and more; None for anything else."""
    digits = text.rstrip("+")
    return int(digits) if digits.isascii() and digits.isdigit() else None
