"""`hubfleet rollback` where there is nothing to go back to."""

from __future__ import annotations

from pathlib import Path

from command import run
from hubfleet.plan import Desired, Generations, Plan
from hubfleet.resources import File

WRONG, NOT_HERE = 2, 3


def record(state: Path, text: str) -> None:
    """A generation of engine ``local``, of which nothing is made."""
    generations = Generations(state)
    wanted = Desired("physics", state, {"this machine": (File("/nowhere", text),)})
    generations.switch(generations.begin(Plan("physics", (), (), wanted, base=max(generations.numbers(), default=0))))


def test_every_way_that_leads_nowhere_says_so(tmp_path: Path) -> None:
    (tmp_path / "hubfleet.yaml").write_text("hub: physics\nlogin: {password: file}\n")
    state = tmp_path / "state" / "physics"
    done = run(tmp_path, "rollback")
    assert (done.code, "no earlier generation" in done.err) == (NOT_HERE, True)
    state.mkdir(parents=True)
    record(state, "one")
    done = run(tmp_path, "rollback")
    assert (done.code, "no earlier generation" in done.err) == (NOT_HERE, True)
    record(state, "two")
    done = run(tmp_path, "rollback", "7", "--yes")
    assert (done.code, "generation 7 is not there; there are: 1, 2" in done.err) == (WRONG, True)
    done = run(tmp_path, "rollback", "--yes")
    assert (done.code, "for engine docker" in done.err) == (NOT_HERE, True)
    assert Generations(state).current() == 2
    assert [line.split()[0] for line in run(tmp_path, "rollback", "--list").out.splitlines()] == [
        "generation",
        "1",
        "2",
    ]
