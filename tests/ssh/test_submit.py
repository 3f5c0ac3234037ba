"""A server's job is submitted once, whatever is lost on the way, and what it is told is in nobody else's view.

Scripts stand in for Slurm's commands (`standin.py`): no job has to run here.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from loginnode import Reached, cut, drop, until
from sshd import Server
from standin import Cluster, noisy

import needs
from hubfleet.engines.slurm.away import LoginAway, NoAnswer, Unreachable
from hubfleet.engines.slurm.script import BatchJob

if TYPE_CHECKING:
    from hubfleet.engines.slurm.login import Login

pytestmark = [
    needs.root(),
    needs.command("ssh", package="openssh-client"),
    needs.command("/usr/sbin/sshd", package="openssh-server"),
    needs.package("asyncssh"),
]

pytest.importorskip("asyncssh", reason="needs the Python package asyncssh (make dev)")

from hubfleet.engines.slurm import login as submitting  # noqa: E402 - it needs the package

NAME = "hubfleet-ada@demo"
JOB = BatchJob(NAME, "00000000aaaaaaaa", ("python3", "job.py"), time_s=3600, cpus=1, memory_mib=512)
OTHER = replace(JOB, tag="11111111bbbbbbbb")
CANARY = "canary-5d0f6c"
FILES = {"json": json.dumps({"token": CANARY}), "py": "print('é')\n"}


@pytest.fixture
def home(account: str) -> Iterator[Path]:
    """Of the account; as it was, afterwards."""
    path = Path(pwd.getpwnam(account).pw_dir)
    before = set(path.iterdir())
    kept = (path / ".bashrc").read_text() if (path / ".bashrc").exists() else ""
    yield path
    (path / ".bashrc").write_text(kept)
    for one in set(path.iterdir()) - before:
        if one.is_symlink() or one.is_file():
            one.unlink()
        else:
            shutil.rmtree(one)


@pytest.fixture
def cluster(account: str) -> Iterator[Cluster]:
    entry = pwd.getpwnam(account)
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        made = Cluster(Path(directory) / "slurm", entry.pw_uid, entry.pw_gid)
        yield made
        made.release("sbatch", "squeue", "scancel", "scontrol", "sinfo")


@pytest.fixture
def there(reached: Reached, account: str, home: Path, cluster: Cluster) -> Login:
    """The cluster, by way of a login node that greets people."""
    noisy(home)
    return submitting.Login(reached(), account, programs=str(cluster.programs))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A login node that is away is asked again sooner than in earnest."""
    monkeypatch.setattr("hubfleet.engines.slurm.remote.LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(submitting, "LONGEST_PAUSE_S", 0.2)


def files(home: Path) -> dict[str, int]:
    """What is in the server's directory beside the lock, with its mode."""
    folder = home / ".hubfleet" / NAME
    there = folder.iterdir() if folder.exists() else ()
    return {path.name: path.lstat().st_mode & 0o7777 for path in there if path.name != "lock"}


async def test_a_job_begins_beside_files_that_only_its_owner_can_read(
    there: Login, cluster: Cluster, home: Path, account: str
) -> None:
    done = await there.submit(JOB, FILES)
    assert (done.id, done.found) == (1, False)
    assert files(home) == {f"{JOB.tag}.json": 0o600, f"{JOB.tag}.py": 0o600}
    folder = home / ".hubfleet" / NAME
    for path in (folder, folder.parent):
        assert (path.stat().st_mode & 0o7777, path.owner()) == (0o700, account)
    assert (folder / f"{JOB.tag}.py").read_text() == FILES["py"]
    (job,) = cluster.jobs()
    assert (job["name"], job["tag"], job["directory"]) == (NAME, JOB.tag, str(folder))
    assert job["umask"] == 0o077, "so that its output is the account's alone too"
    assert cluster.calls("sbatch") == [["--parsable"]]


async def test_another_directory_may_be_named(reached: Reached, account: str, home: Path, cluster: Cluster) -> None:
    (home / "work").mkdir()
    os.chown(home / "work", *(pwd.getpwnam(account)[2:4]))
    there = submitting.Login(reached(), account, directory=str(home / "work"), programs=str(cluster.programs))
    await there.submit(JOB, FILES)
    assert (home / "work" / NAME / f"{JOB.tag}.json").exists()
    assert not (home / ".hubfleet").exists()


async def test_what_is_secret_is_in_nobody_elses_view(there: Login, cluster: Cluster) -> None:
    cluster.hold("sbatch")
    planted = await asyncio.create_subprocess_exec("sleep", "60", env={"X": "y"})
    submission = asyncio.create_task(there.submit(JOB, FILES))
    await until(lambda: bool(cluster.jobs()))
    seen = shown()
    assert "sbatch --parsable" in seen, "it looks at what runs there now"
    assert "sleep 60" in seen
    assert CANARY not in seen
    cluster.release("sbatch")
    await submission
    (job,) = cluster.jobs()
    assert CANARY not in json.dumps(job)
    assert CANARY not in (cluster.folder / "calls").read_text()
    planted.kill()
    await planted.wait()


def shown() -> str:
    """Arguments and environment of all that runs."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found += [" ".join(process.cmdline()), json.dumps(process.environ())]
    return "\n".join(found)


async def test_a_submission_whose_answer_was_lost_is_found_again(there: Login, cluster: Cluster, login: Server) -> None:
    cluster.hold("sbatch")
    told: list[str] = []
    submission = asyncio.create_task(there.submit(JOB, FILES, told.append))
    await until(lambda: bool(cluster.jobs()))
    cut(login)
    await until(lambda: bool(told))
    cluster.release("sbatch")
    done = await submission
    assert (done.id, done.found) == (1, True)
    assert len(cluster.calls("sbatch")) == 1
    assert told[0].endswith("was lost before a command had ended; trying again")


async def test_a_login_node_that_is_rebooted_meanwhile_starts_nothing_twice(
    there: Login, cluster: Cluster, login: Server
) -> None:
    cluster.hold("sbatch")
    submission = asyncio.create_task(there.submit(JOB, FILES))
    await until(lambda: bool(cluster.jobs()))
    drop(login)
    cluster.release("sbatch")
    assert (await submission).found
    assert len(cluster.jobs()) == 1


async def test_a_job_that_sbatch_did_not_hear_of_is_found(there: Login, cluster: Cluster, home: Path) -> None:
    cluster.lie("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    done = await there.submit(JOB, FILES)
    assert (done.id, len(cluster.jobs())) == (1, 1)
    assert files(home)


async def test_two_at_once_make_one_job(there: Login, cluster: Cluster) -> None:
    done = await asyncio.gather(*(there.submit(JOB, FILES) for _ in range(4)))
    assert [one.id for one in done] == [1, 1, 1, 1]
    assert sorted(one.found for one in done) == [False, True, True, True]
    assert len(cluster.jobs()) == 1


async def test_a_job_of_an_earlier_start_is_in_the_way_until_it_is_over(
    there: Login, cluster: Cluster, home: Path
) -> None:
    await there.submit(JOB, FILES)
    with pytest.raises(submitting.Taken, match="an earlier start of this server is still there, as job 1") as caught:
        await there.submit(OTHER, FILES)
    assert caught.value.job == 1
    assert len(cluster.jobs()) == 1
    await there.cancel([caught.value.job])
    assert (await there.submit(OTHER, FILES)).id == 2
    assert set(files(home)) == {f"{OTHER.tag}.json", f"{OTHER.tag}.py"}, "the earlier one's are gone"


async def test_what_slurm_refuses_leaves_nothing_behind(there: Login, cluster: Cluster, home: Path) -> None:
    cluster.say("sbatch", 1, "sbatch: error: Batch job submission failed: Invalid partition specified")
    with pytest.raises(submitting.Refused, match=r"^the cluster does not take it: there is no such partition$"):
        await there.submit(JOB, FILES)
    assert files(home) == {}


@pytest.mark.parametrize("command", ["squeue", "sbatch"])
async def test_while_slurm_is_away_it_is_tried_again(there: Login, cluster: Cluster, home: Path, command: str) -> None:
    cluster.say(command, 1, "error: Unable to contact slurm controller (connect failure)")
    told: list[str] = []
    submission = asyncio.create_task(there.submit(JOB, FILES, told.append))
    await until(lambda: len(told) > 1)
    assert told[0].startswith("Slurm does not answer on the login node (")
    assert told[0].endswith("error: Unable to contact slurm controller (connect failure)); trying again")
    assert cluster.jobs() == []
    cluster.release(command)
    assert (await submission).id == 1
    assert len(cluster.jobs()) == 1


async def test_while_the_login_node_is_away_it_is_tried_again(there: Login, cluster: Cluster, login: Server) -> None:
    login.stop()
    told: list[str] = []
    submission = asyncio.create_task(there.submit(JOB, FILES, told.append))
    await until(lambda: len(told) > 2)
    assert "cannot be reached" in told[0]
    login.start("host")
    assert (await submission).id == 1


async def test_after_a_while_it_gives_up(there: Login, login: Server) -> None:
    login.stop()
    with pytest.raises(Unreachable):
        await there.submit(JOB, FILES, patience_s=1)


# -- where the files go ----------------------------------------------------------------------------------------------


async def test_a_link_is_not_written_through(there: Login, cluster: Cluster, home: Path, account: str) -> None:
    await there.submit(JOB, FILES)
    await there.cancel([1])
    victim = home / "victim"
    victim.write_text("mine")
    target = home / ".hubfleet" / NAME / f"{OTHER.tag}.json"
    target.symlink_to(victim)
    os.chown(victim, *(pwd.getpwnam(account)[2:4]))
    await there.submit(OTHER, FILES)
    assert victim.read_text() == "mine"
    assert not target.is_symlink()


async def test_a_file_that_somebody_holds_open_is_not_the_one(
    there: Login, cluster: Cluster, home: Path, account: str
) -> None:
    await there.submit(JOB, FILES)
    await there.cancel([1])
    waiting = home / ".hubfleet" / NAME / f"{OTHER.tag}.json"
    waiting.touch(0o644)
    os.chown(waiting, *(pwd.getpwnam(account)[2:4]))
    with waiting.open() as held:
        await there.submit(OTHER, FILES)
        assert held.read() == ""
    assert files(home)[waiting.name] == 0o600


@pytest.mark.parametrize("which", [".hubfleet", f".hubfleet/{NAME}"])
async def test_a_directory_that_is_a_link_is_not_followed(
    there: Login, cluster: Cluster, home: Path, account: str, which: str
) -> None:
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    (home / which).parent.mkdir(exist_ok=True)
    (home / which).symlink_to(elsewhere)
    for path in (elsewhere, (home / which).parent):
        os.chown(path, *(pwd.getpwnam(account)[2:4]))
    with pytest.raises(submitting.Unusable, match=r"cannot be put on the cluster: .*Not a directory"):
        await there.submit(JOB, FILES)
    assert list(elsewhere.iterdir()) == []
    assert cluster.jobs() == []


async def test_a_directory_of_somebody_else_is_not_used(there: Login, home: Path, cluster: Cluster) -> None:
    (home / ".hubfleet" / NAME).mkdir(mode=0o777, parents=True)
    (home / ".hubfleet" / NAME).chmod(0o777)
    (home / ".hubfleet").chmod(0o777)
    with pytest.raises(submitting.Unusable, match="belongs to another account"):
        await there.submit(JOB, FILES)
    assert files(home) == {}


async def test_a_directory_that_others_can_look_into_is_closed(there: Login, home: Path, account: str) -> None:
    (home / ".hubfleet" / NAME).mkdir(parents=True)
    for path in (home / ".hubfleet", home / ".hubfleet" / NAME):
        os.chown(path, *(pwd.getpwnam(account)[2:4]))
        path.chmod(0o777)
    await there.submit(JOB, FILES)
    for path in (home / ".hubfleet", home / ".hubfleet" / NAME):
        assert path.stat().st_mode & 0o7777 == 0o700


async def test_variables_of_a_profile_do_not_change_the_job(there: Login, home: Path, cluster: Cluster) -> None:
    with (home / ".bashrc").open("a") as rc:
        rc.write("\nexport SBATCH_PARTITION=other SBATCH_EXPORT=ALL SLURM_TIME_FORMAT=%s SLURM_CONF=/etc/there.conf\n")
    await there.submit(JOB, FILES)
    (job,) = cluster.jobs()
    seen = {name: text for name, text in job["environment"].items() if name.startswith(("SBATCH", "SLURM"))}
    assert seen == {"SLURM_CONF": "/etc/there.conf"}


async def test_files_of_a_start_are_removed_and_its_words_are_read(there: Login, home: Path, account: str) -> None:
    await there.discard(NAME, JOB.tag)  # there is no directory yet
    assert await there.read(NAME) == ""
    await there.submit(JOB, FILES)
    assert await there.read(NAME) == ""
    log = home / ".hubfleet" / NAME / "server.log"
    log.write_text("x" * 100_000 + "the end\n")
    shutil.chown(log, account)
    said = await there.read(NAME)
    assert said.endswith("xthe end\n")
    assert len(said) == 65536
    await there.discard(NAME, OTHER.tag)
    assert len(files(home)) == 3
    await there.discard(NAME, JOB.tag)
    assert set(files(home)) == {"server.log"}
    log.unlink()
    log.symlink_to("/etc/passwd")
    with pytest.raises(submitting.Unusable):
        await there.read(NAME)
    log.unlink()
    os.mkfifo(log)
    shutil.chown(log, account)
    with pytest.raises(submitting.Unusable, match="is no file"):
        await there.read(NAME)


async def test_a_login_node_without_python_is_told(reached: Reached, account: str, home: Path) -> None:
    there = submitting.Login(reached(), account, python="python-of-nobody")
    with pytest.raises(submitting.Unusable, match=r"python-of-nobody on the login node .*No such file or directory"):
        await there.submit(JOB, FILES)


# -- what is known ---------------------------------------------------------------------------------------------------


async def test_all_jobs_are_asked_for_at_once(there: Login, cluster: Cluster) -> None:
    names = [f"hubfleet-u{number}@demo" for number in range(20)]
    await asyncio.gather(*(there.submit(replace(JOB, name=name, tag=f"{n:08}"), FILES) for n, name in enumerate(names)))
    before = len(cluster.calls("squeue"))
    found = await there.jobs(names)
    assert len(cluster.calls("squeue")) == before + 1
    assert {name: jobs[0].tag for name, jobs in found.items()} == {name: f"{n:08}" for n, name in enumerate(names)}
    assert await there.jobs([]) == {}


async def test_what_is_not_listed_is_gone_only_when_slurm_says_so(
    there: Login, cluster: Cluster, login: Server
) -> None:
    await there.submit(JOB, FILES)
    cluster.change(1, state="TIMEOUT", reason="TimeLimit")
    ended = await there.last(1, NAME)
    assert ended is not None
    assert (ended.over, ended.state, ended.signal) == (True, "TIMEOUT", 15)
    cluster.change(1, state="gone")
    assert await there.jobs([NAME]) == {}
    assert await there.last(1, NAME) is None
    cluster.say("scontrol", 1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    with pytest.raises(NoAnswer, match="does not say what became of job 1"):
        await there.last(1, NAME)
    cluster.say("squeue", 0, "")
    assert await there.jobs([NAME]) == {}
    cluster.say("squeue", 1, "slurm_load_jobs error: Socket timed out on send/recv operation")
    with pytest.raises(LoginAway, match="squeue ended with 1: slurm_load_jobs error: Socket timed out"):
        await there.jobs([NAME])
    drop(login)
    login.stop()
    with pytest.raises(LoginAway):
        await there.last(1, NAME)


async def test_cancelling_what_is_gone_is_success(there: Login, cluster: Cluster) -> None:
    await there.submit(JOB, FILES)
    await there.cancel([1, 99])
    assert cluster.jobs()[0]["state"] == "CANCELLED"
    await there.cancel([])
    assert len(cluster.calls("scancel")) == 1
    cluster.say("scancel", 1, "scancel: error: Unable to contact slurm controller (connect failure)")
    with pytest.raises(NoAnswer, match="Slurm has not cancelled job 1"):
        await there.cancel([1])


async def test_partitions_are_those_of_the_cluster(there: Login) -> None:
    found = (await there.partitions())["debug"]
    assert (found.cpus, found.memory, found.gpus, found.longest) == (16, 8000, 2, 7200)
