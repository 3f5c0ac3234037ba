"""What a load test tells of itself where there is no terminal."""

from __future__ import annotations

import io

import pytest

from hubfleet.cli.console import out
from hubfleet.cli.loadtest_progress import Follow
from hubfleet.loadtest import Progress, Scenario


def test_a_class_that_is_over_at_once_is_told_of_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "file", io.StringIO())
    progress = Progress(3, "making the people")
    with Follow(Scenario(3)) as follow:
        follow(progress)
        progress.phase = "playing"
        follow(progress)
        for step in ("login", "start", "page"):
            for _ in range(3):
                progress.ended[step] += 1
                follow(progress)
        progress.phase = "idle"
        follow(progress)
        progress.phase = "stopping"
        follow(progress)
    lines = out.file.getvalue().splitlines()
    assert lines[-3:] == ["3 people: logged in 3, ready 3, page 3", "idle ...", "stopping ..."]
    assert len(lines) <= 6, "one line a phase, and not one for each step of each person"
