"""The hub's database is looked at before every start: what is said of a bad one, and the copies of a good one."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest

from hubfleet.hub import preflight
from hubfleet.hub.preflight import COPIES, Unfit, check_database, keep_copy


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jupyterhub.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.executemany("INSERT INTO users VALUES (?)", [(f"user-{number:06}",) for number in range(5000)])
    connection.close()
    return path


def people(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM users").fetchone()[0])
    finally:
        connection.close()


def damage(path: Path) -> None:
    with open(path, "r+b") as file:
        for page in range(2, path.stat().st_size // 4096, 3):
            file.seek(page * 4096)
            file.write(os.urandom(4096))


def test_a_sound_or_missing_database_is_fit(path: Path) -> None:
    check_database(path)
    path.unlink()
    check_database(path)
    keep_copy(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("kind", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_locked_one_is_left_alone_and_named(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(preflight, "LOCK_PATIENCE_S", 0.1)
    holder = sqlite3.connect(path)
    holder.execute(f"BEGIN {kind}")
    with pytest.raises(Unfit, match=f"another program holds the database. End that program .see: fuser {path}"):
        check_database(path)
    holder.rollback()
    holder.close()
    check_database(path)


def test_a_damaged_one_names_the_last_copy_and_the_command_brings_it_back(path: Path) -> None:
    keep_copy(path)
    copy = next(path.parent.glob("*.good-*"))
    damage(path)
    beside = [path.with_name(f"jupyterhub.sqlite{suffix}") for suffix in ("-wal", "-shm", "-journal")]
    with pytest.raises(Unfit) as caught:
        check_database(path)
    assert str(caught.value).startswith(f"{path}: the database is damaged (")
    assert f"The last sound copy is {copy}." in str(caught.value)
    command = re.search("To go back to it: (.*)", str(caught.value))
    assert command
    for left in beside:
        left.write_bytes(b"of the damaged one")
    subprocess.run(command[1], shell=True, check=True)
    assert not [left for left in beside if left.exists()]
    check_database(path)
    assert people(path) == 5000
    assert path.with_name("jupyterhub.sqlite.damaged").exists()


def test_a_damaged_one_without_a_copy_can_be_put_aside(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(Unfit, match=r"There is no earlier copy. To begin with an empty one .homes stay.: ") as caught:
        check_database(path)
    subprocess.run(str(caught.value).partition("(homes stay): ")[2], shell=True, check=True)
    check_database(path)
    assert not path.exists()


def test_what_is_no_damage_is_not_called_so(path: Path) -> None:
    path.unlink()
    path.mkdir()
    with pytest.raises(Unfit, match="cannot be used") as caught:
        check_database(path)
    assert "damaged" not in str(caught.value)


def test_a_full_disk_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "MIN_FREE_BYTES", 1 << 60)  # the real one is tested with a real disk
    with pytest.raises(
        Unfit, match=r"the disk is full .[0-9]+ bytes free.. Free some space; the hub then starts by itself"
    ):
        check_database(path)


def test_the_last_copies_are_kept_and_they_are_whole(path: Path) -> None:
    for second in range(COPIES + 2):
        path.with_name(f"jupyterhub.sqlite.good-2020010{second}T000000").write_bytes(b"old")
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM users").fetchone()  # somebody reads while it is copied
    keep_copy(path)
    reader.close()
    copies = sorted(path.parent.glob("*.good-*"))
    assert len(copies) == COPIES
    assert people(copies[-1]) == 5000
    assert copies[-1].stat().st_mode & 0o777 == 0o600
    assert not list(path.parent.glob(".*"))


def test_a_copy_has_what_is_only_in_the_log_and_is_one_file(path: Path) -> None:
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("INSERT INTO users VALUES ('late')")
    writer.commit()
    path.with_name(f".{path.name}.copying-journal").write_bytes(b"of a copy that was killed")
    writer.execute("INSERT INTO users VALUES ('too late')")  # not committed: somebody writes while it is copied
    keep_copy(path)
    writer.close()
    [copy] = path.parent.glob("*.good-*")
    assert people(copy) == 5001
    assert copy.read_bytes()[18:20] == b"\x01\x01"  # needs no log beside it, so that a reader leaves none
    assert list(path.parent.glob("*.good-*")) == [copy]
    assert not list(path.parent.glob(".*"))
    copy.with_name(f"{copy.name}-wal").touch()  # somebody looked into it and was killed
    damage(path)
    with pytest.raises(Unfit, match=f"The last sound copy is {copy}. To go back"):
        check_database(path)


def test_a_damaged_one_is_no_sound_copy(path: Path) -> None:
    keep_copy(path)
    sound = list(path.parent.glob("*.good-*"))
    os.rename(sound[0], path.with_name("jupyterhub.sqlite.good-20200101T000000"))
    damage(path)
    keep_copy(path)
    assert [copy.name for copy in path.parent.glob("*.good-*")] == ["jupyterhub.sqlite.good-20200101T000000"]
    assert not list(path.parent.glob(".*"))
