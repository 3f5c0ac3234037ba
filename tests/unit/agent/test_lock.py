"""One operator at a time; a dead one leaves no lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hubfleet.agent.lock import hold
from hubfleet.errors import LockedError

HOLDER = """
import sys
from pathlib import Path
from hubfleet.agent.lock import hold
from hubfleet.errors import LockedError
sys.stdin.readline()
try:
    with hold(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
except LockedError as error:
    print(f"{error.exit_code} {error}", flush=True)
"""


def operator(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


@pytest.mark.parametrize("attempt", range(5))
def test_of_two_operators_exactly_one_wins(tmp_path: Path, attempt: int) -> None:
    two = [operator(tmp_path / "state") for _ in range(2)]
    for process in two:
        say(process)
    answers = sorted((heard(process), process.pid) for process in two)
    assert [answer for answer, _ in answers][1] == "held\n"
    winner = answers[1][1]
    assert answers[0][0].startswith("5 ")
    assert f"(process {winner} on " in answers[0][0]
    assert "is changing this hub now. Nothing was changed. Try: wait" in answers[0][0]
    for process in two:
        process.communicate("\n")


def test_lock_is_free_as_soon_as_its_holder_is_dead(tmp_path: Path) -> None:
    process = operator(tmp_path)
    say(process)
    assert heard(process) == "held\n"
    with pytest.raises(LockedError), hold(tmp_path):
        pytest.fail("two hold the lock")
    process.kill()
    process.communicate()
    with hold(tmp_path) as holder:
        assert str(holder.pid) in (tmp_path / "lock").read_text()
    assert (tmp_path / "lock").read_text() == ""
