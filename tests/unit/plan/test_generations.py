"""Generations: complete before the switch, 20 kept, one deployment at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubfleet.errors import ApplyError
from hubfleet.plan import Desired, Generations, make_plan
from hubfleet.resources import File
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


def test_plan_made_before_another_deployment_is_refused(tmp_path: Path) -> None:
    plan = plan_now(desired(tmp_path, "first"))
    deploy(desired(tmp_path, "second"))
    with pytest.raises(ApplyError, match="another deployment"):
        Generations(tmp_path / "state").begin(plan)


def test_begun_generation_is_not_current(tmp_path: Path) -> None:
    deploy(desired(tmp_path, "first"))
    generations = Generations(tmp_path / "state")
    wanted = desired(tmp_path, "second")
    assert generations.begin(make_plan(wanted, MACHINES, generations.known())) == 2
    assert generations.current() == 1
    assert generations.known().number == 2
