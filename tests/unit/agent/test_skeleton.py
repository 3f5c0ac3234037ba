"""What new homes are copied from: made whole on a machine, and named by what is in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hubfleet.agent.converge import apply, observe
from hubfleet.config import Config
from hubfleet.engines.docker import skeleton as begin
from hubfleet.errors import CheckError
from hubfleet.layout import Layout
from hubfleet.resources import Change, Skeleton, from_json

BINARY = bytes(range(256)) * 40


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """As somebody has it beside the configuration."""
    made = tmp_path / "skel"
    (made / "data" / "raw").mkdir(parents=True)
    (made / "data" / "stars.npy").write_bytes(BINARY)
    (made / "run.sh").write_text("#!/bin/sh\n")
    (made / "run.sh").chmod(0o755)
    (made / "latest").symlink_to("data/stars.npy")
    (made / "kept").mkdir()
    (made / "kept" / "exam.md").write_text("Ünicode")
    (made / "kept" / "exam.md").chmod(0o400)
    (made / "kept").chmod(0o500)
    return made


def config(source: Path) -> Config:
    return Config.model_validate(
        {"hub": "physics101", "engine": "docker", "storage": {"homes": {"skeleton": str(source)}}}
    )


def wanted(source: Path, place: Path) -> Skeleton:
    found = begin.skeleton(config(source), Layout("physics101", place, True))
    assert found is not None
    return found


def make(skeleton: Skeleton) -> Change | None:
    Path(skeleton.path).parent.mkdir(parents=True, exist_ok=True)
    change = skeleton.diff(observe([skeleton])[skeleton.id])
    if change:
        # as it comes to another machine
        there = from_json(skeleton.to_json())
        assert apply(Change(there, change.action, change.detail), lambda line: None)
    return change


def test_it_is_the_same_there_as_here(source: Path, tmp_path: Path) -> None:
    skeleton = wanted(source, tmp_path / "base")
    change = make(skeleton)
    assert change
    assert change.detail == ("data/stars.npy", "kept/exam.md", "latest", "run.sh")
    made = Path(skeleton.path)
    assert (made / "data" / "stars.npy").read_bytes() == BINARY
    assert os.readlink(made / "latest") == "data/stars.npy"
    assert (made / "data" / "raw").is_dir()
    for name in ("run.sh", "data", "kept", "kept/exam.md"):
        assert stat.S_IMODE((made / name).stat().st_mode) == stat.S_IMODE((source / name).stat().st_mode), name
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert make(skeleton) is None
    assert [entry.name for entry in made.parent.iterdir()] == [made.name]


def test_another_content_is_another_one_and_each_can_go(source: Path, tmp_path: Path) -> None:
    first = wanted(source, tmp_path / "base")
    assert wanted(source, tmp_path / "base") == first
    (source / "new.txt").write_text("new")
    second = wanted(source, tmp_path / "base")
    assert first.path != second.path
    make(first)
    make(second)
    removal = first.removal(observe([first])[first.id])
    assert removal
    assert apply(removal, lambda line: None)
    assert [entry.name for entry in Path(second.path).parent.iterdir()] == [Path(second.path).name]


def test_one_that_was_killed_is_made_anew(source: Path, tmp_path: Path) -> None:
    skeleton = wanted(source, tmp_path / "base")
    place = Path(skeleton.path)
    half = place.with_name(f".{place.name}.hubfleet-new")
    half.mkdir(parents=True)
    (half / "half").touch()
    assert make(skeleton)
    assert not (place / "half").exists()
    assert not half.exists()


def test_a_record_has_no_content_and_says_so_when_that_is_gone(source: Path, tmp_path: Path) -> None:
    skeleton = wanted(source, tmp_path / "base").redacted()
    assert "content" not in {key for key, value in skeleton.to_json().items() if value}
    with pytest.raises(CheckError, match="is gone, and what was in it is not kept"):
        skeleton.diff(None)
    assert skeleton.diff({"type": "directory"}) is None


def test_what_would_leave_its_place_is_refused(tmp_path: Path) -> None:
    entry = begin.Entry(0o644, content=b"x")
    skeleton = Skeleton.of(str(tmp_path / "base"), {"../outside": entry})
    (tmp_path / "base").mkdir()
    with pytest.raises(Exception, match="would not be inside"):
        make(skeleton)
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "base" / "outside").exists()


def test_what_cannot_go_to_a_machine_is_told_with_what_to_do(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(begin.problems(config(source))) == []
    os.mkfifo(source / "pipe")
    (problem,) = begin.problems(config(source))
    assert f"{source}/pipe is no file, directory or link. Try: take it out" in problem
    (source / "pipe").unlink()
    monkeypatch.setattr(begin, "MOST_BYTES", len(BINARY))
    (problem,) = begin.problems(config(source))
    assert "storage.homes.skeleton has 0.0 MB in 7 entries" in problem
    assert "Try: put what is large into a directory there, and show it to all: storage.mounts" in problem
