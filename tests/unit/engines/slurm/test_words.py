"""Sentences for the person whose server waits or has ended."""

from __future__ import annotations

import pytest

from hubfleet.engines.slurm.listing import Job
from hubfleet.engines.slurm.words import about, ended, hopeless, left, waits

NOW = 1_000_000.0


def waiting(reason: str, begins: float | None = None) -> Job:
    return Job(7, "n", "ada", "PENDING", reason=reason, begins=begins)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("", "the scheduler has not looked at it yet"),
        ("Resources", "it is next, as soon as enough of the cluster is free"),
        ("(Priority)", "others are before it in the queue"),
        ("QOSMaxJobsPerUserLimit", "you have as much running as the cluster allows one person"),
        ("QOSMaxCpuPerUserLimit", "you have as much running as the cluster allows one person"),
        ("AssocMaxJobsLimit", "you have as much running as the cluster allows one person"),
        ("AssocGrpCpuLimit", "your project has as much running as the cluster allows it"),
        ("AssocGrpCPUMinutesLimit", "the project's hours on the cluster are used up"),
        ("QOSGrpNodeLimit", "as much as the cluster allows of this kind is running"),
        ("JobHeldAdmin", "it is held by the administrators of the cluster"),
        ("Dependency", "it waits for your earlier server to be gone"),
        ("PartitionDown", "this part of the cluster (its partition) is closed at the moment"),
        (
            "ReqNodeNotAvail, UnavailableNodes:c[1-2]",
            "the nodes that it could run on are down, or kept free for maintenance or for others",
        ),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            "the nodes that it could run on are down, or kept free for others",
        ),
        ("SomethingNew", "the cluster says SomethingNew"),
        ("Bad\x1b[31m\n", "the cluster says Bad[31m"),
    ],
)
def test_why_it_waits(reason: str, words: str) -> None:
    assert waits(waiting(reason), NOW) == f"Waiting in the queue: {words}"
    assert not hopeless(waiting(reason))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("PartitionTimeLimit", "it asks for more time than the cluster allows here"),
        ("AssocMaxWallDurationPerJobLimit", "it asks for more time than the cluster allows here"),
        ("QOSMaxMemoryPerJob", "it asks for more than the cluster allows one job here"),
        ("QOSMaxGRESPerNode", "it asks for more than the cluster allows one job here"),
        ("BadConstraints", "no node of the cluster has what it asks for"),
        ("PartitionConfig", "this part of the cluster (its partition) does not take such jobs"),
        ("launch failed requeued held", "it could not be started, and the cluster has put it on hold"),
    ],
)
def test_what_would_wait_forever_is_told_so(reason: str, words: str) -> None:
    assert hopeless(waiting(reason))
    assert waits(waiting(reason), NOW) == f"Waiting in the queue: {words}. It would wait forever"


def test_when_it_may_begin() -> None:
    assert waits(waiting("Priority", NOW + 4000), NOW).endswith("the queue. Expected to begin in 1 hour 6 minutes")
    assert waits(waiting("Priority", NOW - 5), NOW).endswith("in the queue")


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (Job(7, "n", "ada", "COMPLETED", code=0), "it stopped by itself"),
        (Job(7, "n", "ada", "TIMEOUT", limit=5400), "its time was up, which was 1 hour 30 minutes"),
        (Job(7, "n", "ada", "TIMEOUT", begins=NOW, ends=NOW + 120), "its time was up: it ran for 2 minutes"),
        (Job(7, "n", "ada", "TIMEOUT"), "its time was up"),
        (
            Job(7, "n", "ada", "OUT_OF_MEMORY", node="c1", signal=9),
            "it needed more memory than it had asked for on c1",
        ),
        (Job(7, "n", "ada", "NODE_FAIL", node="c1"), "the node that it ran on, c1, failed"),
        (Job(7, "n", "ada", "BOOT_FAIL"), "its node could not be started"),
        (Job(7, "n", "ada", "PREEMPTED"), "the cluster needed its place for a job of higher priority"),
        (Job(7, "n", "ada", "FAILED", code=3, signal=0, node="c2"), "it ended with code 3 on c2"),
        (Job(7, "n", "ada", "FAILED", code=0, signal=11), "it was ended by signal SIGSEGV"),
        (
            Job(7, "n", "ada", "FAILED", code=0, signal=9),
            "it was ended by signal SIGKILL, as the cluster does with one that needs more memory than it had asked for",
        ),
        (Job(7, "n", "ada", "FAILED", reason="BadConstraints"), "no node of the cluster has what it asks for"),
        (Job(7, "n", "ada", "FAILED", signal=200), "it was ended by signal 200"),
        (Job(7, "n", "ada", "NEW_WORD"), "the cluster says NEW_WORD"),
    ],
)
def test_why_it_ended(job: Job, words: str) -> None:
    assert ended(job) == words


def test_who_cancelled_it() -> None:
    def cancelled(by: int | None) -> Job:
        return Job(7, "n", "ada", "CANCELLED", by=by)

    assert ended(cancelled(2001), own=2001) == "it was cancelled with your account on the cluster (scancel)"
    assert ended(cancelled(0), own=2001) == "it was cancelled by the administrators of the cluster"
    assert ended(cancelled(7), own=2001) == "it was cancelled on the cluster by the account with number 7"
    assert ended(cancelled(2001), own=2001, by_us=True) == "it was stopped from the hub"
    assert ended(cancelled(None)) == "it was cancelled on the cluster, by your account or by its administrators"


def test_time_left() -> None:
    job = Job(7, "n", "ada", "RUNNING", ends=NOW + 3 * 86400 + 7200)
    assert left(job, NOW) == "3 days 2 hours left"
    assert left(job, NOW + 4 * 86400) == "its time is up"
    assert left(waiting("Priority"), NOW) == ""
    assert about(59) == "less than a minute"
    assert about(60) == "1 minute"
