"""A trial of homes on a real directory, with real users. On mounts of all kinds: tests/lab/test_mounted_homes.py."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

import needs
from hubfleet.agent import homestrial
from hubfleet.agent.homestrial import CONTENT, OWNER, READ, SEE, WRITE

pytestmark = needs.root()

UID = 99_999
OTHER = 99_998
FINE = ("", 0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where homes are: only root gets there, as is right for homes that are shown to servers one by one."""
    monkeypatch.setattr(homestrial, "SEEN_S", 0.0)
    tmp_path.chmod(0o700)
    return str(tmp_path)


def made(place: str) -> str:
    name, failure = homestrial.make(place, UID, UID)
    assert failure == FINE
    return name


def test_what_users_write_is_read_and_nothing_is_left(place: str) -> None:
    name = made(place)
    folder = Path(place, name)
    found = folder.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (UID, UID, 0o700)
    assert homestrial.write(place, name, "one", "a word", UID, UID) == FINE
    assert homestrial.write(place, name, "two", "another", UID, UID) == FINE
    assert [(file.stat().st_uid, file.stat().st_gid) for file in sorted(folder.iterdir())] == [(UID, UID)] * 2
    wanted = {"one": "a word", "two": "another"}
    assert homestrial.read(place, name, wanted, UID, UID) == {"one": FINE, "two": FINE}
    homestrial.remove(place, name)
    homestrial.remove(place, name)  # once is enough, and twice is no fault
    assert os.listdir(place) == []


def test_it_is_done_with_the_users_rights_only(place: str) -> None:
    """Root would write anywhere, and read anything."""
    name = made(place)
    folder = Path(place, name)
    folder.chmod(0o500)
    assert homestrial.write(place, name, "one", "a word", UID, UID) == (WRITE, errno.EACCES)
    folder.chmod(0o700)
    assert homestrial.write(place, name, "one", "a word", UID, UID) == FINE
    (folder / "one").chmod(0)
    assert homestrial.read(place, name, {"one": "a word"}, UID, UID) == {"one": (READ, errno.EACCES)}
    assert os.geteuid() == 0


def test_what_is_not_as_it_was_made(place: str) -> None:
    name = made(place)
    folder = Path(place, name)
    assert homestrial.read(place, name, {"one": "a word"}, UID, UID) == {"one": (READ, errno.ENOENT)}
    (folder / "one").write_text("a word")
    (folder / "one").chmod(0o644)
    assert homestrial.read(place, name, {"one": "a word"}, UID, UID) == {"one": (READ, OWNER)}
    os.chown(folder / "one", UID, UID)
    assert homestrial.read(place, name, {"one": "a ward"}, UID, UID) == {"one": (READ, CONTENT)}
    assert homestrial.write(place, name, "two", "a word", OTHER, OTHER) == (SEE, OWNER)
    (folder / "two").symlink_to("/etc/hostname")
    assert homestrial.write(place, name, "two", "a word", UID, UID) == (WRITE, errno.EEXIST)
    assert homestrial.write(place, f"{homestrial.PREFIX}{'0' * 16}", "one", "", UID, UID) == (SEE, errno.ENOENT)
    assert homestrial.make(f"{place}/none", UID, UID) == ("", (SEE, errno.ENOENT))


def test_what_comes_a_little_later_is_waited_for(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homestrial, "SEEN_S", 10.0)
    name = made(place)
    writer = threading.Timer(0.5, homestrial.write, (place, name, "one", "a word", UID, UID))
    writer.start()
    assert homestrial.read(place, name, {"one": "a word"}, UID, UID) == {"one": FINE}
    writer.join()


def test_a_file_system_that_does_not_answer_is_waited_for_no_longer(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that nobody writes into holds who opens it as long."""
    monkeypatch.setattr(homestrial, "LIMIT_S", 0.5)
    name = made(place)
    os.mkfifo(Path(place, name, "one"))
    os.chown(Path(place, name, "one"), UID, UID)
    assert homestrial.read(place, name, {"one": "a word"}, UID, UID) == {"one": (READ, errno.ETIMEDOUT)}


def test_what_a_dead_one_has_left_goes_and_nothing_else(place: str) -> None:
    young, old = made(place), made(place)
    homestrial.write(place, old, "one", "a word", UID, UID)
    like = Path(place, f"{homestrial.PREFIX}of-somebody")
    like.mkdir()
    link = Path(place, f"{homestrial.PREFIX}{'1' * 16}")
    link.symlink_to(like)
    for one in (Path(place, old), like):
        os.utime(one, (0, 0))
    newest = made(place)
    assert sorted(os.listdir(place)) == sorted([young, newest, like.name, link.name])


def test_all_that_this_process_has_made_goes_with_it(place: str) -> None:
    one, two = made(place), made(place)
    homestrial.remove(place, one)
    homestrial.leave()
    assert (os.listdir(place), two != one) == ([], True)


@pytest.mark.parametrize("name", ["ada", "../ada", f"{homestrial.PREFIX}1/../ada", homestrial.PREFIX, ""])
def test_nothing_else_is_ever_removed(place: str, name: str) -> None:
    home = Path(place, "ada")
    home.mkdir()
    with pytest.raises(ValueError, match="no trial's"):
        homestrial.remove(place, name)
    assert home.exists()
