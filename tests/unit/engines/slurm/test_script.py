"""A batch script says what it was made to say, and no value can make it say or do more."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from hubfleet.engines.slurm.script import BatchJob, batch_script, job_name

JOB = BatchJob(
    "hubfleet-ada@demo",
    "0123456789abcdef",
    ("/opt/python/bin/python", "-I", "it's.py"),
    time_s=93784,
    cpus=4,
    memory_mib=8192,
    partition="gpu",
    gpus=2,
    gpu_kind="a100",
    account="phys-1",
    qos="normal",
    reservation="class",
    output="/home/ada/.hubfleet/server.log",
    prologue=("module load python",),
)
TEXTS = ("name", "tag", "partition", "gpu_kind", "account", "qos", "reservation", "output")
NUMBERS = ("time_s", "cpus", "memory_mib", "gpus")
NASTY = some.one_of(
    some.text(max_size=40),
    some.text("ab \t\n\r\0\\\"'#$`%;&|<>(){}[]!~*?-=,./@:\u2028\x1b", max_size=24),
    some.builds(
        str.__add__,
        some.sampled_from(["", "x", "/a"]),
        some.sampled_from(
            ["\n#SBATCH --uid=0", " --wrap=id", "\ntouch canary", "$(touch canary)", "`touch canary`", "/.."]
        ),
    ),
)


def directives(script: str) -> list[str]:
    """As Slurm finds them: at the beginning of a line, up to the first line that is a command."""
    found = []
    for line in re.split(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]", script):
        if line.lstrip().startswith("#SBATCH"):
            found.append(line)
        elif line.strip() and not line.startswith("#"):
            break
    return found


def made(field: str, value: Any) -> BatchJob | None:
    """The job with another value; None for one that is refused, by name."""
    try:
        return replace(JOB, **{field: value})
    except ValueError as refused:
        said = str(refused)
    assert said.startswith(f"{field}: ")
    return None


def test_the_whole_script() -> None:
    assert batch_script(JOB) == (
        "#!/bin/bash\n"
        "#SBATCH --job-name=hubfleet-ada@demo\n"
        "#SBATCH --comment=0123456789abcdef\n"
        "#SBATCH --dependency=singleton\n"
        "#SBATCH --partition=gpu\n"
        "#SBATCH --account=phys-1\n"
        "#SBATCH --qos=normal\n"
        "#SBATCH --reservation=class\n"
        "#SBATCH --time=1-02:03:04\n"
        "#SBATCH --nodes=1\n"
        "#SBATCH --ntasks=1\n"
        "#SBATCH --cpus-per-task=4\n"
        "#SBATCH --mem=8192M\n"
        "#SBATCH --gres=gpu:a100:2\n"
        "#SBATCH --output=/home/ada/.hubfleet/server.log\n"
        "#SBATCH --open-mode=append\n"
        "#SBATCH --input=/dev/null\n"
        "#SBATCH --export=NIL\n"
        "#SBATCH --no-requeue\n"
        "#SBATCH --mail-type=NONE\n"
        "umask 077\n"
        "unset SLURM_EXPORT_ENV\n"
        "export PATH=/usr/local/bin:/usr/bin:/bin\n"
        "module load python\n"
        "exec /opt/python/bin/python -I 'it'\"'\"'s.py'\n"
    )


def test_what_is_not_asked_for_is_not_written() -> None:
    bare = batch_script(BatchJob("n", "00000000", ("true",), time_s=60, cpus=1, memory_mib=1))
    for word in ("partition", "account", "qos", "reservation", "gres"):
        assert f"--{word}" not in bare


@given(some.sampled_from(TEXTS), NASTY)
def test_no_text_adds_a_directive_or_an_option(field: str, value: str) -> None:
    job = made(field, value)
    if job is None:
        return
    before, after = directives(batch_script(JOB)), directives(batch_script(job))
    assert len(after) == len(before) or value == ""
    for line in after:
        assert re.fullmatch(r"#SBATCH --[a-z-]+(=[A-Za-z0-9_.@+:,=/-]+)?", line)
    options = [line.partition("=")[0] for line in after]
    assert len(options) == len(set(options))
    assert set(options) <= {line.partition("=")[0] for line in before}


@given(some.sampled_from(NUMBERS), some.one_of(some.integers(), some.booleans(), some.text(max_size=5), some.floats()))
def test_numbers_are_whole_and_within_reason(field: str, value: Any) -> None:
    job = made(field, value)
    if job is None:
        return
    assert type(value) is int
    assert value >= 0
    assert len(directives(batch_script(job))) in (18, 19)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=some.lists(NASTY, max_size=4))
def test_no_argument_is_a_command(tmp_path: Path, words: list[str]) -> None:
    """The script is run, by the shell that Slurm runs it with."""
    show = (sys.executable, "-I", "-c", "import json, sys; print(json.dumps(sys.argv[1:]))")
    job = made("command", (*show, *words))
    if job is None:
        return
    script = batch_script(replace(job, prologue=()))
    assert directives(script) == directives(batch_script(JOB))
    done = subprocess.run(["/bin/bash"], input=script.encode(), capture_output=True, cwd=tmp_path, timeout=30)
    assert json.loads(done.stdout) == words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "a b"}, "name: 'a b' cannot be written into a batch script"),
        ({"name": "-n"}, "name: '-n' cannot be written"),
        ({"partition": "gpu\n#SBATCH --uid=0"}, "partition: "),
        ({"tag": "not hex"}, "tag: "),
        ({"time_s": 59}, "time_s: 59 is no whole number from 60 to"),
        ({"output": "/home/../etc/passwd"}, "output: '/home/../etc/passwd' is no plain path"),
        ({"output": "a/b"}, "output: 'a/b' has to be a name or begin with /"),
        ({"output": "%j.log"}, "output: "),
        ({"command": ()}, "command: there is none"),
        ({"command": ("a\nb",)}, "command: 'a\\nb' is not one line of text"),
        ({"prologue": ("module load a\nid",)}, "prologue: "),
        ({"prologue": (" #SBATCH --uid=0",)}, "prologue: what a job asks for is not written there"),
    ],
)
def test_what_is_refused_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        replace(JOB, **change)


def test_a_server_has_the_same_name_each_time() -> None:
    assert job_name("demo", "ada") == job_name("demo", "ada") == "hubfleet-ada@demo"
    assert job_name("demo", "ada", "lab") == "hubfleet-ada.lab@demo"
    with pytest.raises(ValueError, match="a hub cannot be called"):
        job_name("de mo", "ada")


HUBS = some.from_regex(r"[a-z0-9]+(-+[a-z0-9]+)*(\.[a-z0-9]+)*", fullmatch=True).filter(lambda name: len(name) <= 40)
PEOPLE = some.text(min_size=1, max_size=60)
SERVERS = some.one_of(some.just(""), PEOPLE)


@given(HUBS, PEOPLE, SERVERS, HUBS, PEOPLE, SERVERS)
def test_no_two_servers_share_a_name(h1: str, u1: str, s1: str, h2: str, u2: str, s2: str) -> None:
    same = (h1, u1, s1) == (h2, u2, s2)
    first, second = job_name(h1, u1, s1), job_name(h2, u2, s2)
    assert (first == second) == same
    replace(JOB, name=first)
