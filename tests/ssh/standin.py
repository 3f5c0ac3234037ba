"""Scripts in the place of Slurm's commands, where no job has to run: they keep a list of jobs in a directory.

``Cluster.say(command, code, words)`` has a command fail; ``hold(command)`` has it wait until ``release``.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

_SCRIPT = """#!/usr/bin/python3 -IS
import json, os, re, sys, time
here = {folder!r}
command = os.path.basename(sys.argv[0])
with open(f"{{here}}/calls", "a") as calls:
    calls.write(json.dumps([command, *sys.argv[1:]]) + "\\n")
def jobs():
    for name in sorted(os.listdir(f"{{here}}/jobs"), key=int):
        yield json.load(open(f"{{here}}/jobs/{{name}}"))
def option(name, words=sys.argv):
    found = [word.partition("=")[2] for word in words if word.startswith(f"--{{name}}=")]
    return found[-1] if found else ""
def after():
    while os.path.exists(f"{{here}}/hold-{{command}}"):
        time.sleep(0.02)
def fail():
    try:
        said = json.load(open(f"{{here}}/say-{{command}}"))
    except FileNotFoundError:
        return
    print(said[1], file=sys.stderr)
    sys.exit(said[0])
"""
_BODIES = {
    "sbatch": """
fail()
script = sys.stdin.read()
asked = [line[8:] for line in script.splitlines() if line.startswith("#SBATCH ")]
number = len(os.listdir(f"{here}/jobs")) + 1
job = dict(id=number, name=option("job-name", asked), tag=option("comment", asked), state="PENDING", reason="Resources",
           user=os.environ["USER"], script=script, directory=os.getcwd(), umask=os.umask(0o22),
           environment=dict(os.environ))
open(f"{here}/jobs/{number}", "w").write(json.dumps(job))
after()
try:
    said = json.load(open(f"{here}/lie"))
except FileNotFoundError:
    print(f"{number};lab")
else:
    print(said, file=sys.stderr)
    sys.exit(1)
""",
    "squeue": """
fail()
after()
for job in jobs():
    if job["name"] in option("name").split(",") and job["state"] != "gone":
        values = {"%A": job["id"], "%u": job["user"], "%T": job["state"], "%P": "debug", "%B": "c1", "%j": job["name"],
                  "%V": "2026-11-24T12:00:00", "%S": "N/A", "%e": "N/A", "%l": "2:00:00", "%r": job["reason"],
                  "%k": job["tag"]}
        print(re.sub("%[A-Za-z]", lambda one: str(values[one[0]]), option("format")))
""",
    "scancel": """
fail()
for word in sys.argv[1:]:
    if word.isdigit():
        try:
            job = json.load(open(f"{here}/jobs/{word}"))
        except FileNotFoundError:
            print(f"scancel: error: Kill job error on job id {word}: Invalid job id specified", file=sys.stderr)
            continue
        job["state"] = "CANCELLED"
        open(f"{here}/jobs/{word}", "w").write(json.dumps(job))
""",
    "scontrol": """
fail()
for job in jobs():
    if str(job["id"]) == sys.argv[-1] and job["state"] != "gone":
        print(f"JobId={job['id']} JobName={job['name']} UserId={job['user']}(1) JobState={job['state']} "
              f"Reason={job['reason']} ExitCode=0:15 BatchHost=c1 ")
        sys.exit()
print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
sys.exit(1)
""",
    "sacct": """
print("Slurm accounting storage is disabled", file=sys.stderr)
sys.exit(1)
""",
    "sinfo": """
fail()
row = {"%P": "debug*", "%a": "up", "%l": "2:00:00", "%c": "16", "%m": "8000", "%G": "gpu:2", "%D": "2", "%t": "idle"}
print(re.sub("%[A-Za-z]", lambda one: row[one[0]], option("format")))
""",
}


class Cluster:
    """Slurm's commands in ``folder/bin``, and what they know in ``folder``."""

    def __init__(self, folder: Path, uid: int, gid: int) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        for path in (folder, self.programs, folder / "jobs"):
            path.mkdir(mode=0o755)
        for name, body in _BODIES.items():
            script = self.programs / name
            script.write_text(_SCRIPT.format(folder=str(folder)) + body)
            script.chmod(0o755)
        (folder / "calls").touch()
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, uid, gid)

    def jobs(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.folder / "jobs").iterdir())]

    def change(self, number: int, **values: Any) -> None:
        path = self.folder / "jobs" / str(number)
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    def calls(self, command: str) -> list[list[str]]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [words[1:] for words in map(json.loads, lines) if words[0] == command]

    def say(self, command: str, code: int, words: str) -> None:
        (self.folder / f"say-{command}").write_text(json.dumps([code, words]))

    def lie(self, words: str) -> None:
        """Have sbatch say this and fail, when the job is there all the same."""
        (self.folder / "lie").write_text(json.dumps(words))

    def hold(self, command: str) -> None:
        (self.folder / f"hold-{command}").touch()

    def release(self, *commands: str) -> None:
        for command in commands:
            for what in (f"hold-{command}", f"say-{command}", "lie"):
                (self.folder / what).unlink(missing_ok=True)


def noisy(home: Path) -> None:
    """Have the account's shell greet everybody, as many login nodes do."""
    greeting = "*** Welcome | squeue: PENDING ***\n\nno newline at the end"
    (home / ".bashrc").write_text(f"printf %s {shlex.quote(greeting)}; echo 'quota: 90%' >&2\n")
