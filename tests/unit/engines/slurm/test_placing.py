"""Files that only their owner can read, also where somebody else is quicker; tests/ssh/test_submit.py has the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hubfleet.engines.slurm import placing


@pytest.fixture
def place(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a directory."""
    (tmp_path / "place").mkdir()
    opened = os.open(tmp_path / "place", os.O_RDONLY | os.O_DIRECTORY)
    yield opened
    os.close(opened)


@pytest.mark.parametrize("put", [os.symlink, os.link])
def test_what_comes_in_between_is_not_written_to(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Callable[..., None]
) -> None:
    """Between the removal of what was there and the making of the file."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    remove = os.unlink

    def quicker(name: str, *, dir_fd: int) -> None:
        remove(name, dir_fd=dir_fd)
        put(victim, tmp_path / "place" / name)

    (tmp_path / "place" / "0.json").touch()
    monkeypatch.setattr("hubfleet.engines.slurm.placing.os.unlink", quicker)
    with pytest.raises(FileExistsError):
        placing.write(place, "0.json", "secret")
    assert victim.read_text() == "mine"


def test_a_file_is_its_owners_whatever_files_usually_are(place: int, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        placing.write(place, "0.json", "secret")
    finally:
        os.umask(before)
    assert (tmp_path / "place" / "0.json").stat().st_mode & 0o7777 == 0o600


def test_the_files_of_one_start_are_removed_and_nothing_else(place: int, tmp_path: Path) -> None:
    names = ["00000000.json", "00000000.py", "11111111.json", "server.log", "lock", "x00000000.json"]
    for name in names:
        (tmp_path / "place" / name).touch()
    placing.clear(place, "00000000")
    assert sorted(os.listdir(place)) == sorted(names[2:])
    placing.clear(place, None)
    assert sorted(os.listdir(place)) == sorted(names[3:])
