"""Several machines are worked on beside each other, and none begins a stage before all have done what comes before."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hubfleet.agent.base import Progress
from hubfleet.errors import ApplyError, UnreachableError
from hubfleet.machines import LocalMachine
from hubfleet.plan import Desired, Event, Generations, Manifest, apply_plan, make_plan
from hubfleet.resources import Change, File, Resource
from hubfleet.resources.base import Action

SOON_S = 10.0
LONG_ENOUGH_S = 0.5


@dataclass(frozen=True)
class Watched(LocalMachine):
    """This machine under another name; ``before`` is called with the path of what is about to be changed."""

    before: Callable[[str], None] = lambda path: None

    def apply(self, change: Change, progress: Progress) -> bool:
        self.before(Path(change.resource.key).name)
        return super().apply(change, progress)

    def secret(self, what: str) -> str:
        return f"canary of {self.name}: {what}"


@dataclass(frozen=True)
class Staged(File):
    """A file that is made at a stage, with what another machine tells, and anew when something there is changed."""

    at: int = 0
    asks: str = ""
    after: str = ""

    def stage(self, action: Action) -> int:
        return self.at

    @property
    def needs(self) -> tuple[str, str] | None:
        return (self.asks, "word") if self.asks else None

    def given(self, secret: str) -> Staged:
        return replace(self, content=secret)

    @property
    def follows(self) -> tuple[tuple[str, str, Action], ...]:
        machine, _, which = self.after.partition(" ")
        return (machine, which, "create"), (machine, which, "update")

    def followed(self) -> Change:
        return Change(self, "update", ("anew",))


def carry_out(tmp_path: Path, wanted: dict[str, tuple[Resource, ...]], before: Callable[[str], None]) -> list[Event]:
    machines = {name: Watched(name, before=before) for name in wanted}
    events: list[Event] = []
    plan = make_plan(Desired("demo", tmp_path / "state", wanted), machines, Manifest())
    apply_plan(plan, machines, events.append)
    return events


def test_machines_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Each step begins only when the other machine's has begun too."""
    together = threading.Barrier(2, timeout=SOON_S)
    wanted: dict[str, tuple[Resource, ...]] = {
        name: tuple(File(str(tmp_path / f"{name}{number}"), "text\n") for number in range(3)) for name in ("a", "b")
    }
    events = carry_out(tmp_path, wanted, lambda path: together.wait() and None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    for name in wanted:
        numbers = [event.number for event in events if event.machine == name and event.status == "start"]
        assert numbers == sorted(numbers)
        assert len(numbers) == 3
    assert {event.total for event in events} == {6}


def test_nothing_that_serves_is_touched_before_all_are_prepared(tmp_path: Path) -> None:
    order: list[str] = []
    quick = threading.Event()

    def before(path: str) -> None:
        if path.startswith("slow"):
            assert quick.wait(SOON_S)
        order.append(path)
        if path == "quick":
            quick.set()

    slow = [f"slow{number}" for number in range(50)]
    wanted: dict[str, tuple[Resource, ...]] = {
        "a": tuple(File(str(tmp_path / name), "", returns=name == "a-serves") for name in ("quick", "a-serves")),
        "b": tuple(File(str(tmp_path / name), "", returns=name == "b-serves") for name in (*slow, "b-serves")),
    }
    carry_out(tmp_path, wanted, before)
    assert order[:51] == ["quick", *slow]
    assert sorted(order[51:]) == ["a-serves", "b-serves"]


def test_where_one_fails_the_others_keep_what_serves(tmp_path: Path) -> None:
    served = threading.Event()

    def before(path: str) -> None:
        if path == "fails":
            served.wait(LONG_ENOUGH_S)  # for the other machine to come that far, if nothing held it back
        if path == "serves":
            served.set()

    wanted: dict[str, tuple[Resource, ...]] = {
        "a": (File(str(tmp_path / "missing" / "fails"), ""),),
        "b": (File(str(tmp_path / "prepared"), ""), File(str(tmp_path / "serves"), "", returns=True)),
    }
    with pytest.raises(ApplyError) as caught:
        carry_out(tmp_path, wanted, before)
    assert str(caught.value).startswith(f"a, step 1: create file {tmp_path}/missing/fails failed: ")
    assert "1 of 3 steps are done and stay; 1 were not begun" in str(caught.value)
    assert (tmp_path / "prepared").exists()
    assert not served.is_set()


def test_a_machine_that_is_lost_is_told_apart_from_a_step_that_fails(tmp_path: Path) -> None:
    def before(path: str) -> None:
        raise UnreachableError("the connection was lost", where="a", remedy="the same command again")

    with pytest.raises(UnreachableError, match="the connection was lost"):
        carry_out(tmp_path, {"a": (File(str(tmp_path / "file"), ""),)}, before)


def test_what_is_no_failure_of_a_step_comes_through_from_any_machine(tmp_path: Path) -> None:
    def before(path: str) -> None:
        raise ZeroDivisionError(path)

    wanted: dict[str, tuple[Resource, ...]] = {name: (File(str(tmp_path / name), ""),) for name in ("a", "b")}
    with pytest.raises(ZeroDivisionError):
        carry_out(tmp_path, wanted, before)


def test_no_machine_begins_a_stage_before_all_are_through_the_earlier_ones(tmp_path: Path) -> None:
    order: list[str] = []
    wanted: dict[str, tuple[Resource, ...]] = {
        "a": tuple(Staged(str(tmp_path / name), "", at=at) for name, at in (("a0", 0), ("a2", 2), ("a0-late", 0))),
        "b": tuple(Staged(str(tmp_path / name), "", at=at) for name, at in (("b1", 1), ("b2", 2))),
        "c": (File(str(tmp_path / "c0"), ""), File(str(tmp_path / "c9"), "", returns=True)),
    }
    carry_out(tmp_path, wanted, order.append)
    assert sorted(order[:2]) == ["a0", "c0"]
    assert order[2] == "b1"
    assert sorted(order[3:6]) == ["a0-late", "a2", "b2"], "what comes after a step on its machine is done after it"
    assert order.index("a2") < order.index("a0-late")
    assert order[6] == "c9"


def test_what_a_step_needs_of_another_machine_is_given_to_that_step_alone(tmp_path: Path) -> None:
    wanted: dict[str, tuple[Resource, ...]] = {
        "a": (File(str(tmp_path / "a"), ""),),
        "b": (Staged(str(tmp_path / "b"), "", asks="a", secret=True),),
    }
    machines = {name: Watched(name) for name in wanted}
    events: list[Event] = []
    generations = Generations(tmp_path / "state")
    (tmp_path / "state" / "generations").mkdir(parents=True)
    plan = make_plan(Desired("demo", tmp_path / "state", wanted), machines, Manifest())
    generations.begin(plan)
    apply_plan(plan, machines, events.append)
    assert (tmp_path / "b").read_text() == "canary of a: word"
    written = [path.read_text() for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert len(written) >= 3
    assert "canary" not in f"{plan} {json.dumps(plan.to_json())} {events} {written}"


def test_what_follows_a_change_on_another_machine_is_part_of_the_plan(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    wanted: dict[str, tuple[Resource, ...]] = {
        "a": (
            Staged(str(third), "", at=2, after=f"b file:{second}"),
            File(str(tmp_path / "serves"), "", returns=True),
        ),
        "b": (Staged(str(second), "", at=1, after=f"c file:{first}"),),
        "c": (File(str(first), ""),),
    }
    machines = {name: Watched(name) for name in wanted}

    def plan() -> list[tuple[str, str, str]]:
        made = make_plan(Desired("demo", tmp_path / "state", wanted), machines, Manifest())
        return [(name, change.action, Path(change.resource.key).name) for name, change in made.changes]

    carry_out(tmp_path, wanted, lambda path: None)
    assert plan() == []
    first.unlink()
    assert plan() == [("a", "update", "third"), ("b", "update", "second"), ("c", "create", "first")]
    (tmp_path / "serves").unlink()
    assert [name for _, _, name in plan()][:2] == ["third", "serves"]
