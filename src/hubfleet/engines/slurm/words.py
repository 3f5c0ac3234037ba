"""Why a job waits and why it ended, in sentences for the person whose server it is. Pure."""

from __future__ import annotations

import re
import signal
import time

from hubfleet.engines.slurm.listing import Job, Phase

_TOO_LONG = "it asks for more time than the cluster allows here"
_TOO_MUCH = "it asks for more than the cluster allows one job here"
_PERSON = "you have as much running as the cluster allows one person"
_PROJECT = "your project has as much running as the cluster allows it"
_EVERYBODY = "as much as the cluster allows of this kind is running"
_SPENT = "the project's hours on the cluster are used up"

_REASONS = {
    "None": "the scheduler has not looked at it yet",
    "Resources": "it is next, as soon as enough of the cluster is free",
    "Priority": "others are before it in the queue",
    "Reservation": "it waits for its reservation to begin",
    "BeginTime": "it was told to begin later",
    "Dependency": "it waits for your earlier server to be gone",
    "DependencyNeverSatisfied": "it waits for a job that did not end as it should have",
    "Licenses": "it waits for a licence",
    "Prolog": "its node is being prepared",
    "Cleaning": "what an earlier attempt left is being cleaned up",
    "NodeDown": "a node that it needs is down",
    "FrontEndDown": "a node that it needs is down",
    "ReqNodeNotAvail": "the nodes that it could run on are down, or kept free for maintenance or for others",
    "PartitionDown": "this part of the cluster (its partition) is closed at the moment",
    "PartitionInactive": "this part of the cluster (its partition) is closed at the moment",
    "PartitionNodeLimit": _TOO_MUCH,
    "PartitionTimeLimit": _TOO_LONG,
    "PartitionConfig": "this part of the cluster (its partition) does not take such jobs",
    "JobHeldUser": "it is held: somebody with your account has put it on hold (scontrol release lets it go)",
    "JobHeldAdmin": "it is held by the administrators of the cluster",
    "JobHoldMaxRequeue": "it is held, for it was started again too often",
    "JobArrayTaskLimit": _PERSON,
    "BadConstraints": "no node of the cluster has what it asks for",
    "AccountNotAllowed": "your project may not use this part of the cluster",
    "QOSNotAllowed": "your account may not use this class of service (QOS)",
    "InvalidAccount": "the cluster does not know the project that it is for",
    "InvalidQOS": "the cluster does not know the class of service (QOS) that it asks for",
    "AssociationJobLimit": _PROJECT,
    "AssociationResourceLimit": _PROJECT,
    "AssociationTimeLimit": _SPENT,
    "QOSJobLimit": _EVERYBODY,
    "QOSResourceLimit": _EVERYBODY,
    "QOSTimeLimit": _SPENT,
    "QOSUsageThreshold": "this class of service (QOS) is used up for now",
    "ReservationDeleted": "its reservation was deleted",
    "launch failed requeued held": "it could not be started, and the cluster has put it on hold",
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions": (
        "the nodes that it could run on are down, or kept free for others"
    ),
}
_FAMILIES = (
    # Slurm makes a name of each limit, of whose it is and of what is limited.
    (re.compile(r"(QOS|Assoc)(Max|Grp).*(Mins|Minutes).*"), _SPENT),
    (re.compile(r"(QOS|Assoc)MaxWall.*"), _TOO_LONG),
    (re.compile(r"(QOS|Assoc)Min.*"), "it asks for less than the cluster takes here"),
    (re.compile(r"(QOS|Assoc)Max.*PerNode(Limit)?"), _TOO_MUCH),
    (re.compile(r"(QOS|Assoc)Max.*Per(User|Account)(Limit)?|MaxSubmitJob.*"), _PERSON),
    (re.compile(r"(QOS|Assoc)MaxJobs.*"), _PERSON),
    (re.compile(r"(QOS|Assoc)Max.*PerJob(Limit)?"), _TOO_MUCH),
    (re.compile(r"(QOS|Assoc)Max.*"), _TOO_MUCH),
    (re.compile(r"AssocGrp.*"), _PROJECT),
    (re.compile(r"QOSGrp.*"), _EVERYBODY),
)
_NEVER = frozenset(
    {
        *("PartitionTimeLimit", "PartitionNodeLimit", "PartitionConfig", "BadConstraints", "DependencyNeverSatisfied"),
        *("AccountNotAllowed", "QOSNotAllowed", "InvalidAccount", "InvalidQOS", "ReservationDeleted"),
        "launch failed requeued held",
    }
)
_NEVER_FAMILIES = re.compile(r"(QOS|Assoc)(Max.*PerJob(Limit)?|MaxWall.*|Max.*PerNode(Limit)?|Min.*)")
_FEW_S = 60.0


def waits(job: Job, now: float) -> str:
    """Why a job has not begun, and when it may. ``now``: seconds since 1970."""
    why = f"Waiting in the queue: {_reason(job.reason)}"
    if hopeless(job):
        return f"{why}. It would wait forever"
    if job.begins is None or job.begins <= now:
        return why
    return f"{why}. Expected to begin in {about(job.begins - now)}"


def hopeless(job: Job) -> bool:
    """Whether a waiting job will never begin as it is: whoever waits for it has to ask for something else."""
    name = _name(job.reason)
    return job.phase is Phase.WAITING and (name in _NEVER or bool(_NEVER_FAMILIES.fullmatch(name)))


def _name(reason: str) -> str:
    """The reason alone: behind a comma may come which nodes."""
    bare = reason.strip().strip("()") or "None"
    return bare if bare in _REASONS else bare.partition(",")[0].strip()


def _reason(reason: str) -> str:
    name = _name(reason)
    if name in _REASONS:
        return _REASONS[name]
    for pattern, words in _FAMILIES:
        if pattern.fullmatch(name):
            return words
    return f"the cluster says {_quoted(reason)}"


def ended(job: Job, own: int | None = None, by_us: bool = False) -> str:
    """Why a job ended, as a clause that follows "the server ended:".

    ``own``: uid of the account that it ran under, where that is the user's own. ``by_us``: the hub has cancelled it.
    """
    where = f" on {job.node}" if job.node else ""
    if job.state == "CANCELLED":
        return _cancelled(job, own, by_us)
    said = {
        "COMPLETED": "it stopped by itself",
        "TIMEOUT": f"its time was up{_of(job)}",
        "DEADLINE": "it could not be done by the time that was set for it",
        "OUT_OF_MEMORY": f"it needed more memory than it had asked for{where}",
        "NODE_FAIL": f"the node that it ran on{f', {job.node},' if job.node else ''} failed",
        "BOOT_FAIL": f"its node{f' {job.node}' if job.node else ''} could not be started",
        "LAUNCH_FAILED": f"it could not be started{where}",
        "RECONFIG_FAIL": f"its node{f' {job.node}' if job.node else ''} could not be made ready",
        "PREEMPTED": "the cluster needed its place for a job of higher priority",
        "REVOKED": "another cluster took it over",
    }.get(job.state)
    return said or _failed(job, where)


def _cancelled(job: Job, own: int | None, by_us: bool) -> str:
    if by_us:
        return "it was stopped from the hub"
    if job.by is None:
        return "it was cancelled on the cluster, by your account or by its administrators"
    if job.by == 0:
        return "it was cancelled by the administrators of the cluster"
    if job.by == own:
        return "it was cancelled with your account on the cluster (scancel)"
    return f"it was cancelled on the cluster by the account with number {job.by}"


def _failed(job: Job, where: str) -> str:
    if job.signal:
        known = job.signal in {entry.value for entry in signal.Signals}
        name = signal.Signals(job.signal).name if known else str(job.signal)
        more = ", as the cluster does with one that needs more memory than it had asked for"
        return f"it was ended by signal {name}{more if name == 'SIGKILL' else ''}{where}"
    if job.state == "FAILED" and _name(job.reason) in _NEVER:
        return _REASONS[_name(job.reason)]
    if job.code:
        return f"it ended with code {job.code}{where}"
    if job.state == "FAILED":
        return f"it failed{where}"
    return f"the cluster says {_quoted(job.state)}"


def _of(job: Job) -> str:
    """The time that it had."""
    if job.limit:
        return f", which was {about(job.limit)}"
    if job.begins is not None and job.ends is not None and job.ends - job.begins >= _FEW_S:
        return f": it ran for {about(job.ends - job.begins)}"
    return ""


def left(job: Job, now: float) -> str:
    """How long a running job still has; "" where the cluster does not say."""
    if job.phase is not Phase.RUNNING or job.ends is None:
        return ""
    return f"{about(job.ends - now)} left" if job.ends > now else "its time is up"


def about(length: float) -> str:
    """A length of time in seconds, for people."""
    if length < _FEW_S:
        return "less than a minute"
    minutes = int(length // 60)
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "day"), (hours, "hour"), (0 if days else rest, "minute")]
    return " ".join(f"{count} {unit}{'s' if count > 1 else ''}" for count, unit in parts if count)


def clock(moment: float) -> str:
    """A time of the day here, for people."""
    return time.strftime("%H:%M", time.localtime(moment))


_REFUSALS = (
    ("invalid partition", "there is no such partition"),
    ("node configuration is not available", "no node there has as much as it asks for"),
    ("Memory specification can not be satisfied", "no node there has as much memory as it asks for"),
    ("CPU count per node can not be satisfied", "no node there has as many processors as it asks for"),
    ("Invalid generic resource", "there are no GPUs of this kind"),
    ("time limit is invalid", _TOO_LONG),
    ("Invalid account", "the project is not known there, or the account may not use it for this"),
    ("Invalid qos", "there is no such class of service (QOS), or the account may not use it"),
    ("reservation is invalid", "there is no such reservation, or the account may not use it"),
    ("group not permitted", "the account may not use this partition"),
    ("violates accounting/QOS policy", "the account or its project has reached a limit (number, size or time of jobs)"),
    ("limit reached", "the account has as many jobs as it may have"),
    ("partition is down", "its partition is closed at the moment"),
    ("Access/permission denied", "the account may not do that"),
    ("Invalid user id", "the account is not known there"),
)
_PASSING = (
    *("Unable to contact slurm controller", "Socket timed out", "temporarily unable", "Zero Bytes were transmitted"),
    *("in standby mode", "onnection failure", "onnection refused", "onnection timed out", "Munge", "MUNGE"),
    *("Resource temporarily unavailable", "Transport endpoint is not connected"),
)


def refused(said: str) -> str:
    """Why Slurm did not take a job, from what `sbatch` said."""
    for sign, meaning in _REFUSALS:
        if sign.lower() in said.lower():
            return f"the cluster does not take it: {meaning}"
    last = (said.strip().splitlines() or ["it does not say why"])[-1]
    return f"the cluster does not take it: {_quoted(last.removeprefix('sbatch: ').removeprefix('error: '))}"


def passing(said: str) -> bool:
    """Whether a command of Slurm's failed for something that passes, so that it has to be asked again."""
    return any(sign in said for sign in _PASSING)


def _quoted(text: str) -> str:
    """A word of Slurm's that is not known here. It is shown as it is, but for what is no letter of a line."""
    return "".join(char for char in text if char.isprintable())[:200] or "nothing"
