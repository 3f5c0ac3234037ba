"""What takes room in a home is found and deleted, and nothing outside it is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubfleet.singleuser import tidy

MIB = 1024**2


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    (made / "data").mkdir(parents=True)
    (made / "data" / "large.bin").write_bytes(b"x" * 3 * MIB)
    (made / "small.txt").write_bytes(b"x")
    (made / "middle.bin").write_bytes(b"x" * 2 * MIB)
    return made


@pytest.fixture
def trash(home: Path) -> Path:
    made = home / ".local/share/Trash"
    (made / "files" / "old").mkdir(parents=True)
    (made / "info").mkdir()
    (made / "files" / "old" / "a.bin").write_bytes(b"x" * MIB)
    (made / "files" / "b.txt").write_text("b")
    (made / "info" / "b.txt.trashinfo").write_text("[Trash Info]\n")
    return made


def test_what_is_large_is_named_from_the_largest_on(home: Path, trash: Path, tmp_path: Path) -> None:
    (tmp_path / "others.bin").write_bytes(b"x" * 9 * MIB)
    (home / "link").symlink_to(tmp_path)
    assert [path for _, path in tidy.largest(str(home))] == ["data/large.bin", "middle.bin"]


def test_the_trash_is_emptied_and_nothing_else(home: Path, trash: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "a.txt").write_text("a")
    (trash / "files" / "link").symlink_to(kept)
    (trash / "files" / "old" / "link").symlink_to(kept)
    count, size = tidy.in_trash(str(home))
    assert (count, size >= MIB) == (3, True)
    tidy.empty_trash(str(home))
    assert tidy.in_trash(str(home)) == (0, 0)
    assert (kept / "a.txt").read_text() == "a"
    assert (home / "middle.bin").exists()


def test_a_trash_that_leads_elsewhere_is_left_alone(home: Path, trash: Path, tmp_path: Path) -> None:
    moved = trash.rename(tmp_path / "elsewhere")
    trash.symlink_to(moved)
    with pytest.raises(OSError, match="is a link to another place"):
        tidy.empty_trash(str(home))
    assert (moved / "files" / "b.txt").exists()


def test_a_home_without_a_trash_has_an_empty_one(home: Path) -> None:
    assert tidy.in_trash(str(home)) == (0, 0)
    tidy.empty_trash(str(home))


@pytest.mark.parametrize("path", ["../others.txt", "link/others.txt", "/etc/passwd", "data", "link", ".", "away"])
def test_what_is_no_file_of_the_home_is_not_deleted(path: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "others.txt").write_text("theirs")
    (home / "link").symlink_to(tmp_path)
    (home / "away").symlink_to(tmp_path / "others.txt")
    with pytest.raises(OSError, match="is not a file of this home"):
        tidy.delete(str(home), path)
    assert (tmp_path / "others.txt").read_text() == "theirs"
    tidy.delete(str(home), "data/large.bin")
    assert not (home / "data/large.bin").exists()
