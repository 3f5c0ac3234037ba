"""What Slurm's commands print is read as what it says of jobs, and nothing that a user may write is taken for more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hubfleet.engines.slurm import listing
from hubfleet.engines.slurm.listing import Job, Phase

MARK = "@0123456789abcdef@"
NAME = "hubfleet-ada@demo"
NOON = 1_795_521_600.0  # 2026-11-24T12:00:00


def line(
    number: int = 7,
    state: str = "RUNNING",
    name: str = NAME,
    reason: str = "None",
    tag: str = "t1",
    user: str = "ada",
) -> str:
    """One of squeue's, as 22.05 prints it."""
    times = "2026-11-24T11:59:00", "2026-11-24T12:00:00", "2026-11-24T13:30:00", "1:30:00"
    fields = [str(number), user, state, "debug", "c1", *times, name, reason, tag]
    return "".join(MARK + one for one in fields) + "\n"


def jobs(output: str, users: tuple[str, ...] = ("ada",)) -> dict[str, tuple[Job, ...]]:
    return listing.listed(output, MARK, [NAME], users)


def test_a_job_that_runs() -> None:
    (job,) = jobs(line())[NAME]
    assert job == Job(
        7,
        NAME,
        "ada",
        "RUNNING",
        partition="debug",
        node="c1",
        submitted=NOON - 60,
        begins=NOON,
        ends=NOON + 5400,
        limit=5400,
        tag="t1",
    )
    assert (job.phase, job.over) == (Phase.RUNNING, False)


def test_what_is_not_known_yet_is_not_made_up() -> None:
    fields = ["9", "ada", "PENDING", "debug", "n/a", "2026-11-24T12:00:00", "N/A", "N/A", "UNLIMITED", NAME]
    output = "".join(MARK + one for one in [*fields, "ReqNodeNotAvail, UnavailableNodes:c[1-2]", "(null)"])
    (job,) = jobs(output)[NAME]
    assert (job.phase, job.reason) == (Phase.WAITING, "ReqNodeNotAvail, UnavailableNodes:c[1-2]")
    assert (job.node, job.tag, job.begins, job.ends, job.limit) == ("", "", None, None, None)


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("PENDING", Phase.WAITING),
        ("REQUEUE_HOLD", Phase.WAITING),
        ("CONFIGURING", Phase.STARTING),
        ("SUSPENDED", Phase.PAUSED),
        ("COMPLETING", Phase.ENDING),
        ("STAGE_OUT", Phase.ENDING),
        ("OUT_OF_MEMORY", Phase.ENDED),
        ("PREEMPTED", Phase.ENDED),
        ("A_WORD_OF_LATER", Phase.UNKNOWN),
        ("", Phase.UNKNOWN),
    ],
)
def test_a_state_means_a_phase_and_an_unknown_word_is_no_end(state: str, phase: Phase) -> None:
    (job,) = jobs(line(state=state))[NAME]
    assert (job.phase, job.over) == (phase, phase is Phase.ENDED)


def test_a_banner_is_no_job_and_takes_none_away() -> None:
    banner = "*** Welcome | maintenance 2026-12-01 ***\n\n  7 ada RUNNING\nno end of the line"
    assert [job.id for job in jobs(banner + line() + "bye\n")[NAME]] == [7]


def test_jobs_of_one_name_come_in_the_order_of_their_numbers() -> None:
    assert [job.id for job in jobs(line(12) + line(7, "TIMEOUT"))[NAME]] == [7, 12]


def test_a_job_of_somebody_else_or_of_another_name_is_none_of_ours() -> None:
    assert jobs(line(user="eve")) == {}
    assert jobs(line(name=f"{NAME}2")) == {}
    assert jobs(line(user="eve"), users=()) != {}


@given(some.text(max_size=200), some.text(max_size=200))
def test_whatever_a_user_writes_into_a_job_is_not_taken_for_another(comment: str, reason: str) -> None:
    """The mark is made up for the question, so it is in nothing that was there before."""
    forged = line(99, "COMPLETED").replace(MARK, "@fedcba9876543210@")
    found = jobs(line(tag=f"{comment}\n{forged}{comment}", reason=reason) + line(8))
    assert [job.id for job in found[NAME]][-1] == 8
    assert {job.id for job in found[NAME]} <= {7, 8}


def test_each_question_has_a_mark_of_its_own() -> None:
    assert listing.new_mark() != listing.new_mark()


def test_one_question_for_all_jobs() -> None:
    assert listing.squeue(["b@h", "a@h"], MARK, ["ada", "bob"]) == [
        *("env", "LC_ALL=C", "TZ=UTC0", "SLURM_TIME_FORMAT=standard"),
        *("squeue", "--noheader", "--states=all", "--name=a@h,b@h", "--user=ada,bob"),
        "--format=" + MARK + MARK.join(["%A", "%u", "%T", "%P", "%B", "%V", "%S", "%e", "%l", "%j", "%r", "%k"]),
    ]
    many = listing.squeue([f"hubfleet-person{number}@hub" for number in range(5000)], MARK)
    assert max(len(word) for word in many) < 100_000, "the system takes no longer argument than 128 KiB"


def test_how_a_job_ended_by_the_accounts() -> None:
    times = "2026-11-24T11:59:00", "2026-11-24T12:00:00", "2026-11-24T12:30:00"
    rows = [
        ["lab", "7", "ada", "CANCELLED by 2001", "debug", "c1", "0:15", *times, NAME],
        ["lab", "8", "ada", "OUT_OF_MEMORY", "debug", "c1", "0:125", *times, NAME],
        ["lab", "9", "ada", "FAILED", "debug", "None assigned", "3:0", *times, NAME],
        ["lab", "nine"],
    ]
    found = listing.accounted("Hello\n" + "\n".join(MARK.join(row) for row in rows), MARK)
    assert set(found) == {7, 8, 9}
    assert (found[7].state, found[7].by, found[7].signal, found[7].ends) == ("CANCELLED", 2001, 15, NOON + 1800)
    assert (found[9].state, found[9].code, found[9].node) == ("FAILED", 3, "")
    command = listing.sacct([9, 7], MARK)
    assert "--jobs=7,9" in command
    assert f"--delimiter={MARK}" in command


SHOWN = (
    f"JobId=7 JobName={NAME} UserId=ada(2001) GroupId=ada(2001) MCS_label=N/A Priority=4294901759 Nice=0 "
    "Account=(null) QOS=(null) JobState=TIMEOUT Reason=TimeLimit Dependency=(null) Requeue=0 BatchFlag=1 "
    "ExitCode=0:15 RunTime=00:01:20 TimeLimit=00:01:00 TimeMin=N/A SubmitTime=2026-11-24T11:59:00 "
    "EligibleTime=2026-11-24T11:59:00 AccrueTime=2026-11-24T11:59:00 StartTime=2026-11-24T12:00:00 "
    "EndTime=2026-11-24T12:01:20 Deadline=N/A Partition=debug AllocNode:Sid=login:123 ReqNodeList=(null) "
    "ExcNodeList=(null) NodeList=c1 BatchHost=c1 NumNodes=1 Comment=JobState=COMPLETED "
)


def test_how_a_job_ended_by_what_is_shown_of_it() -> None:
    job = listing.shown(f"a banner{SHOWN}\n", 7, NAME)
    assert job is not None
    assert (job.state, job.reason, job.signal, job.node, job.user) == ("TIMEOUT", "TimeLimit", 15, "c1", "ada")
    assert (job.ends, job.limit) == (NOON + 80, 60)
    assert listing.shown(SHOWN, 8, NAME) is None
    assert listing.shown(SHOWN, 7, "another") is None
    assert listing.shown("", 7, NAME) is None


def test_what_is_forgotten_is_told_from_what_cannot_be_asked() -> None:
    assert listing.forgotten("slurm_load_jobs error: Invalid job id specified\n")
    assert not listing.forgotten("slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")


@given(some.text(max_size=400))
def test_no_text_breaks_the_reading(text: str) -> None:
    for output in (text, MARK + text, line().replace("debug", text)):
        listing.listed(output, MARK, [NAME])
        listing.accounted(output, MARK)
        listing.shown(output, 7, NAME)
