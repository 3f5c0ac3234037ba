"""A cluster by way of its login node: submit, ask, cancel. Nothing is started twice, and silence is never an end.

What a server is to be, with the hub's tokens, goes by standard input into files that only the account can read; see
`placing`. It is in no argument, no script and no comment of a job.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubfleet.engines.slurm import listing, words
from hubfleet.engines.slurm.away import CommandFailed, LoginAway, NoAnswer
from hubfleet.engines.slurm.listing import Job
from hubfleet.engines.slurm.partitions import Partition, partitions, sinfo
from hubfleet.engines.slurm.remote import Remote
from hubfleet.engines.slurm.script import BatchJob, batch_script

logger = logging.getLogger("hubfleet.launcher")

PLACE_LIMIT_S = 90.0
LOCK_WAIT_S = 20.0
PATIENCE_S = 600.0
"""How long a submission is tried again while nothing is known of it."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
LOG = "server.log"
_FILE = re.compile(r"[a-z]+")
_PROGRAM = Path(__file__).with_name("placing.py")
_TAKE = (
    "import sys; i = sys.stdin.buffer; "
    "exec(compile(i.read(int(i.readline())), 'placing', 'exec'), {'__name__': '__main__'})"
)
Told = Callable[[str], None]


class Refused(Exception):
    """Slurm does not take the job. The text is for people; nothing of it is left."""


class Taken(Exception):
    """There is a job of an earlier start of this server, which nobody here has cancelled."""

    def __init__(self, job: int) -> None:
        super().__init__(f"an earlier start of this server is still there, as job {job}")
        self.job = job


class Unusable(Exception):
    """The server's files cannot be put where they belong. The text is for people."""


@dataclass(frozen=True)
class Submitted:
    """A job that there is now. ``found``: an earlier attempt has brought it there."""

    id: int
    found: bool


class Login:
    """What is asked of one account on the login node.

    ``user``: its name there. ``directory``: where servers' files are, on a file system of all nodes; by default in its
    home. ``programs``: the directory of Slurm's commands, where they are not on the usual path.
    """

    def __init__(self, remote: Remote, user: str, directory: str = "", programs: str = "", python: str = "python3"):
        self._remote = remote
        self._user = user
        self._directory = directory
        self._programs = programs
        self._python = python

    # -- a start -----------------------------------------------------------------------------------------------------

    async def submit(
        self, job: BatchJob, files: Mapping[str, str], told: Told = lambda _: None, patience_s: float = PATIENCE_S
    ) -> Submitted:
        """Put the files there (as ``<tag>.<name>``) and submit the job, which begins in their directory.

        Tries again while the login node or Slurm is away, and tells why it waits. Raises Refused, Taken, Unusable, and
        LoginAway when it has been away for ``patience_s``: then the job may be there, and the same call finds it.
        """
        asked = {
            "job": job.name,
            "tag": job.tag,
            "files": dict(files),
            "script": batch_script(job),
            "wait": LOCK_WAIT_S,
        }
        if any(not _FILE.fullmatch(name) for name in files):
            raise ValueError("a server's files are called by letters only")
        end, pause = time.monotonic() + patience_s, FIRST_PAUSE_S
        while True:
            try:
                answer = await self._place("submit", job.name, **asked)
                break
            except LoginAway as problem:
                if time.monotonic() + pause > end:
                    raise
                told(f"{problem}; trying again")
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)
        if "taken" in answer:
            raise Taken(int(answer["taken"]))
        if "refused" in answer:
            raise Refused(words.refused(answer["refused"]))
        return Submitted(int(answer["id"]), bool(answer["found"]))

    async def discard(self, name: str, tag: str) -> None:
        """Remove what was put there for a start, if its job has not done so. Raises LoginAway and Unusable."""
        await self._place("discard", name, tag=tag)

    async def read(self, name: str, file: str = LOG) -> str:
        """The end of a file in a server's directory, such as what its job has said. Raises LoginAway and Unusable."""
        return str((await self._place("read", name, file=file))["text"])

    async def _place(self, verb: str, name: str, **more: Any) -> dict[str, Any]:
        mark = listing.new_mark()
        asked = {"verb": verb, "mark": mark, "name": name, "base": self._directory, "programs": self._programs, **more}
        program = await asyncio.to_thread(_PROGRAM.read_text)
        stdin = f"{len(program.encode())}\n{program}{json.dumps(asked)}"
        done = await self._remote.run([self._python, "-I", "-S", "-c", _TAKE], stdin, PLACE_LIMIT_S)
        said = done.output.rpartition(mark)[2].partition("\n")[0] if mark in done.output else ""
        if not said:
            last = (done.errors.strip().splitlines() or ["it said nothing"])[-1]
            raise Unusable(f"{self._python} on the login node could not prepare the server: {last}")
        answer: dict[str, Any] = json.loads(said)
        if "away" in answer or words.passing(answer.get("refused", "")):
            raise NoAnswer(
                f"Slurm does not answer on the login node ({_last(answer.get('away') or answer['refused'])})"
            )
        if "unusable" in answer:
            raise Unusable(f"the server's files cannot be put on the cluster: {answer['unusable']}")
        return answer

    # -- what is known -----------------------------------------------------------------------------------------------

    async def jobs(self, names: Collection[str], users: Sequence[str] | None = None) -> dict[str, tuple[Job, ...]]:
        """All jobs of these names, in one question. Raises LoginAway: a job that is missing in an answer is not listed.

        ``users``: of which accounts; by default of this one.
        """
        if not names:
            return {}
        mark, accounts = listing.new_mark(), [self._user] if users is None else users
        done = await self._slurm(listing.squeue(names, mark, accounts))
        return listing.listed(done, mark, names, accounts)

    async def last(self, job: int, name: str) -> Job | None:
        """A job that is not listed, as Slurm remembers it; None when it certainly knows of no such job any more.

        Raises LoginAway where that is not certain.
        """
        mark = listing.new_mark()
        shown, known = await asyncio.gather(
            self._remote.run(self._found(listing.scontrol(job))),
            self._remote.run(self._found(listing.sacct([job], mark))),
        )
        found = listing.accounted(known.output, mark).get(job) if known.code == 0 else None
        if found is not None and found.name == name and found.over:
            return found  # it alone says by whom a job was cancelled
        if shown.code == 0 and (there := listing.shown(shown.output, job, name)) is not None:
            return there
        if shown.code != 0 and listing.forgotten(shown.errors):
            return None
        raise NoAnswer(f"Slurm does not say what became of job {job} ({_last(shown.errors)})")

    async def partitions(self) -> dict[str, Partition]:
        """The cluster's partitions, by name. Raises LoginAway."""
        mark = listing.new_mark()
        return partitions(await self._slurm(sinfo(mark)), mark)

    async def cancel(self, jobs: Iterable[int]) -> None:
        """Cancel jobs. Cancelling what is gone is success. Raises LoginAway where it may not have been heard."""
        wanted = [str(job) for job in sorted(set(jobs))]
        if not wanted:
            return
        done = await self._remote.run(self._found([*listing.PLAIN, "scancel", "--quiet", *wanted]))
        left = [line for line in done.errors.splitlines() if "error" in line.lower() and not _is_gone(line)]
        if left or (done.code and not done.errors.strip()):
            raise NoAnswer(f"Slurm has not cancelled job {', '.join(wanted)} ({_last(done.errors)})")

    async def _slurm(self, argv: Sequence[str]) -> str:
        """What a command prints. One that fails says nothing of any job."""
        try:
            return (await self._remote.check(self._found(argv))).output
        except CommandFailed as error:
            raise NoAnswer(f"Slurm does not answer on the login node ({error})") from error

    def _found(self, argv: Sequence[str]) -> list[str]:
        """The command with the path on which it is."""
        path = [f"PATH={self._programs}:/usr/local/bin:/usr/bin:/bin"] if self._programs else []
        return [argv[0], *path, *argv[1:]]


def _is_gone(line: str) -> bool:
    return any(said in line for said in ("Invalid job id", "already completing or completed", "Job/step already"))


def _last(errors: str) -> str:
    return (errors.strip().splitlines() or ["it says nothing"])[-1]
