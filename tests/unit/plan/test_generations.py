"""Generations: complete before the switch, 20 kept, one deployment at a time; and what a way back needs of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubfleet.errors import ApplyError
from hubfleet.plan import Desired, Generations, Plan, make_plan
from hubfleet.plan.generations import DATABASE
from hubfleet.resources import File, Image
from unit.plan.deployment import MACHINES, deploy, desired, plan_now


def test_no_change_makes_no_generation(tmp_path: Path) -> None:
    wanted = desired(tmp_path, "first")
    deploy(wanted)
    deploy(wanted)
    generations = Generations(wanted.state_dir)
    assert (generations.numbers(), generations.current()) == ([1], 1)
    assert (wanted.state_dir / "generations").stat().st_mode & 0o777 == 0o700


def test_last_twenty_are_kept_and_can_be_read(tmp_path: Path) -> None:
    for number in range(25):
        deploy(Desired("test", tmp_path / "state", {"local": (File(str(tmp_path / "a"), f"{number}\n"),)}))
    generations = Generations(tmp_path / "state")
    assert generations.numbers() == list(range(6, 26))
    assert generations.current() == 25
    assert generations.read(24)["local"] == (File(str(tmp_path / "a"), "23\n"),)


def test_deployments_that_were_killed_do_not_push_out_what_one_goes_back_to(tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = _record(_wants(state, _image("first")))
    for number in range(25):
        _record(_wants(state, _image(f"killed-{number}")), finished=False)
    last = _record(_wants(state, _image("last")))
    generations = Generations(state)
    assert (generations.current(), generations.before()) == (last, first)
    assert generations.numbers() == [first, *range(last - 19, last + 1)]


def test_plan_made_before_another_deployment_is_refused(tmp_path: Path) -> None:
    plan = plan_now(desired(tmp_path, "first"))
    deploy(desired(tmp_path, "second"))
    with pytest.raises(ApplyError, match="another deployment"):
        Generations(tmp_path / "state").begin(plan)


def test_begun_generation_is_not_current(tmp_path: Path) -> None:
    deploy(desired(tmp_path, "first"))
    generations = Generations(tmp_path / "state")
    wanted = desired(tmp_path, "second")
    assert not generations.unfinished()
    assert generations.begin(make_plan(wanted, MACHINES, generations.known())) == 2
    assert generations.current() == 1
    assert generations.unfinished()
    assert generations.known().number == 2


def _image(name: str) -> Image:
    return Image.of(name, "debian:12", "FROM debian:12\n")


def _wants(state: Path, *resources: File | Image, again: int = 0) -> Desired:
    return Desired("test", state, {"local": tuple(resources)}, again=again)


def _record(wanted: Desired, finished: bool = True) -> int:
    """As a deployment would, without changing anything."""
    generations = Generations(wanted.state_dir)
    number = generations.begin(Plan("test", (), (), wanted, base=max(generations.numbers(), default=0)))
    if finished:
        generations.switch(number)
    return number


def test_the_one_before_is_another_that_was_carried_out(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    assert generations.before() == 0
    one, two, three = (_wants(tmp_path, File("/a", text)) for text in "123")
    _record(one)
    assert generations.before() == 0
    _record(two)
    _record(three, finished=False)
    assert (generations.deployed(), generations.before()) == ([2, 1], 1)
    _record(two)  # on with what was there
    assert generations.deployed() == [4, 2, 1]
    assert generations.before() == 1, "the second is the same"
    assert not generations.describe(3).deployed


def test_one_that_is_an_earlier_one_again_says_so_until_the_next(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    for text in "12":
        _record(_wants(tmp_path, File("/a", text)))
    assert _record(_wants(tmp_path, File("/a", "1"), again=1)) == 3
    assert (generations.again(3), generations.describe(3).again, generations.before()) == (1, 1, 2)
    assert _record(_wants(tmp_path, File("/a", "1"))) == 4
    assert generations.again(4) == 0


def test_images_of_the_last_three_are_kept_whatever_failed_between(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    first, second, third, fourth, failed = map(_image, ("1", "2", "3", "4", "failed"))
    assert generations.images_kept(_wants(tmp_path, first))["local"] == {first.id}
    for image in (first, second, third):
        _record(_wants(tmp_path, image))
        _record(_wants(tmp_path, image, failed), finished=False)
    _record(_wants(tmp_path, third))
    assert generations.images_kept(_wants(tmp_path, third))["local"] == {first.id, second.id, third.id}
    assert generations.images_kept(_wants(tmp_path, fourth))["local"] == {second.id, third.id, fourth.id}


def test_what_a_way_back_needs_is_known_and_not_removed(tmp_path: Path) -> None:
    kept, dropped = File(str(tmp_path / "kept"), "x"), File(str(tmp_path / "dropped"), "x")
    deploy(_wants(tmp_path / "state", kept, dropped))
    generations = Generations(tmp_path / "state")
    plan = make_plan(_wants(tmp_path / "state"), MACHINES, generations.known(), {"local": {kept.id}})
    assert [change.resource.id for _, change in plan.changes] == [dropped.id]
    assert {resource.id for _, resource in plan.leftovers} == {kept.id, dropped.id}
    assert plan.notes == ()


def test_the_database_is_that_of_the_next_change_of_the_hub(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    for text in "1234":
        _record(_wants(tmp_path, File("/a", text)))
    assert generations.database(1) is None
    for number in (2, 3):
        (generations.folder(number) / DATABASE).touch()
    found = [generations.database(number) for number in (1, 2, 3, 4)]
    assert found == [*(str(generations.folder(number) / DATABASE) for number in (2, 2, 3)), None]
