"""Homes on a real disk: made whole, given to their owner only, put away only when the archive is good."""

from __future__ import annotations

import os
import resource
import stat
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import needs
from hubfleet.config.owner import Owner
from hubfleet.homes import ARCHIVED, HOMES_MARKER
from hubfleet.homes.keeper import BadName, Keeper, NoHome
from hubfleet.homes.making import HomeFailed
from hubfleet.homes.settings import Limits

ADA = Owner(70_001, 70_501)
MINIMUM = 1000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of homes."""
    homes = tmp_path / "homes"
    homes.mkdir()
    (homes / HOMES_MARKER).touch()
    return homes


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    made = tmp_path / "skeleton"
    (made / "course").mkdir(parents=True)
    (made / "course" / "start.ipynb").write_text("{}")
    (made / "link").symlink_to("course")
    return made


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file can grow beyond that: as good as a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def keeper(place: Path, skeleton: Path | None = None) -> Keeper:
    return Keeper(place, skeleton, minimum=MINIMUM)


@needs.root()
def test_a_home_is_its_owners_with_all_that_is_in_it(place: Path, skeleton: Path) -> None:
    home = keeper(place, skeleton).ensure("ada", ADA)
    assert (home.path, home.uid, home.gid, home.used) == (place / "ada", 70_001, 70_501, None)
    assert home.inode == home.path.stat().st_ino
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    for path in (home.path, *home.path.rglob("*")):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (70_001, 70_501), path
    assert (home.path / "link").is_symlink()
    assert skeleton.stat().st_uid == 0, "what a link leads to is not given away"
    assert sorted(os.listdir(place)) == [HOMES_MARKER, "ada"]


@needs.root()
def test_one_that_is_there_stays_as_it_is(place: Path, skeleton: Path) -> None:
    first = keeper(place).ensure("ada", ADA)
    (first.path / "kept").write_text("words")
    first.path.chmod(0o750)
    assert keeper(place, skeleton).ensure("ada", ADA) == first
    assert os.listdir(first.path) == ["kept"]
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o750


@needs.root()
def test_somebody_elses_is_not_given_away(place: Path) -> None:
    keeper(place).ensure("ada", ADA)
    with pytest.raises(HomeFailed, match="belongs to user id 70001, not 70002; an administrator has to look at it"):
        keeper(place).ensure("ada", Owner(70_002, 70_501))
    assert (place / "ada").stat().st_uid == 70_001


def test_without_root_people_have_this_processs_ids(place: Path) -> None:
    assert keeper(place).ensure("ada", None).uid == os.geteuid()


NAMES = ["", ".", "..", "../ada", "ada/..", "/etc", "a/b", "Ada", "ada.", ".ada", ".hubfleet-homes", "ada\n", "ada\0"]


@pytest.mark.parametrize("name", [*NAMES, "ä", "1ada", "-ada", "a" * 31, "ada b"])
def test_what_is_no_name_is_refused(place: Path, name: str) -> None:
    for act in (keeper(place).home, keeper(place).archive, lambda name: keeper(place).ensure(name, ADA)):
        with pytest.raises(BadName):
            act(name)
    assert os.listdir(place) == [HOMES_MARKER]


@pytest.mark.parametrize("number", [0, 1, MINIMUM - 1, -1, 65_534, 65_535, 2**31, 2**32 + 70_001])
def test_ids_that_nobody_may_have_get_nothing(place: Path, number: int) -> None:
    for owner in (Owner(number, 70_001), Owner(70_001, number)):
        with pytest.raises(HomeFailed, match=f"nobody's files may belong to id {number}"):
            keeper(place).ensure("ada", owner)
    assert os.listdir(place) == [HOMES_MARKER]


def test_without_its_disk_nothing_is_made(place: Path) -> None:
    (place / HOMES_MARKER).unlink()
    for act in (lambda: keeper(place).ensure("ada", None), keeper(place).report):
        with pytest.raises(HomeFailed, match="is its disk mounted"):
            act()
    assert os.listdir(place) == []


def test_what_is_no_directory_is_not_taken_for_a_home(place: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (place / "ada").symlink_to(tmp_path / "elsewhere")
    (place / "ben").touch()
    for name in ("ada", "ben"):
        with pytest.raises(HomeFailed, match=f"{name} is not a directory"):
            keeper(place).ensure(name, None)
        with pytest.raises(NoHome):
            keeper(place).home(name)
    assert keeper(place).report() == []


def test_one_that_was_begun_and_not_finished_is_made_anew(place: Path, skeleton: Path) -> None:
    (place / ".new-ada").mkdir()
    (place / ".new-ada" / "half").touch()
    home = keeper(place, skeleton).ensure("ada", None)
    assert sorted(os.listdir(home.path)) == ["course", "link"]
    assert sorted(os.listdir(place)) == [HOMES_MARKER, "ada"]


def test_many_at_once(place: Path, skeleton: Path) -> None:
    for number in range(300):  # it takes a moment
        (skeleton / f"file{number}").touch()
    made = keeper(place, skeleton)
    with ThreadPoolExecutor(16) as beside:
        homes = list(beside.map(lambda _: made.ensure("ada", None), range(64)))
    assert {home.inode for home in homes} == {(place / "ada").stat().st_ino}
    assert sorted(os.listdir(place)) == [HOMES_MARKER, "ada"]


def test_a_full_disk_leaves_no_half_home(place: Path, skeleton: Path) -> None:
    (skeleton / "large").write_bytes(b"x" * 200_000)
    with files_of_at_most(100_000), pytest.raises(HomeFailed, match=r"could not be made: .*File too large"):
        keeper(place, skeleton).ensure("ada", None)
    assert os.listdir(place) == [HOMES_MARKER]


# -- how much is in them ---------------------------------------------------------------------------------------------


def test_the_table_of_all(place: Path) -> None:
    made = keeper(place)
    for name in ("ben", "ada"):
        made.ensure(name, None)
    (place / "ada" / "deep").mkdir()
    (place / "ada" / "deep" / "file").write_bytes(b"x" * 300_000)
    (place / "ada" / "out").symlink_to("/usr")
    (place / "lost+found").mkdir()
    (place / ARCHIVED).mkdir()
    found = {home.name: home.used for home in made.report()}
    assert list(found) == ["ada", "ben"]
    ada, ben = found["ada"], found["ben"]
    assert ada is not None
    assert ben is not None
    assert 300_000 <= ada < 400_000, "what a link leads to is not counted"
    assert ben < 100_000


class Counted:
    """In the place of a file system that counts."""

    def __init__(self) -> None:
        self.applied: dict[str, int | None] = {}

    def apply(self, home: Path, name: str, limit: int | None) -> None:
        assert home.is_dir()
        self.applied[name] = limit

    def use(self) -> dict[str, tuple[int, int | None]]:
        return {name: (7, limit) for name, limit in self.applied.items()}


def test_limits_are_in_force_for_homes_that_are_made_and_for_those_that_are_there(place: Path) -> None:
    keeper(place).ensure("ben", None)
    quotas = Counted()
    made = Keeper(place, quotas=quotas, limits=Limits(100, {"ada": 900, "eve": None}))
    home = made.ensure("ada", None)
    assert (home.used, home.limit, quotas.applied) == (7, 900, {"ada": 900})
    assert [(home.name, home.used, home.limit) for home in made.report()] == [("ada", 7, 900), ("ben", None, None)]
    made.hold_all()
    assert quotas.applied == {"ada": 900, "ben": 100}


def test_a_group_has_the_limit_that_the_file_says_of_it_until_the_next_start_says_otherwise(place: Path) -> None:
    def made(limits: Limits) -> tuple[Keeper, Counted]:
        return Keeper(place, quotas=(quotas := Counted()), limits=limits), quotas

    keeper, quotas = made(Limits(100, {"eve": 50}, {"lab": 900, "staff": 700}))
    for name, group in (("ada", "lab"), ("ben", None), ("cat", "nobody's"), ("eve", "staff")):
        keeper.ensure(name, None, group)
    assert quotas.applied == {"ada": 900, "ben": 100, "cat": 100, "eve": 700}
    keeper, quotas = made(Limits(200, {"eve": 50}, {"lab": 300, "staff": 700}))  # a later one, by another file
    keeper.hold_all()
    assert quotas.applied == {"ada": 300, "ben": 200, "cat": 200, "eve": 700}
    keeper.ensure("eve", None)
    assert quotas.applied["eve"] == 50
    keeper, quotas = made(Limits(200, {}, {"staff": 700}))
    keeper.hold_all()
    assert quotas.applied == {"ada": 200, "ben": 200, "cat": 200, "eve": 200}


def test_what_is_told_while_all_homes_are_gone_through_is_the_last_word(place: Path) -> None:
    class Told(Counted):
        """Somebody starts a server just as the first home is held to its limit."""

        def apply(self, home: Path, name: str, limit: int | None) -> None:
            super().apply(home, name, limit)
            if name == "ada" and "zoe" not in self.applied:
                keeper.ensure("zoe", None, "lab")

    for name in ("ada", "zoe"):
        Keeper(place).ensure(name, None)
    keeper = Keeper(place, quotas=(quotas := Told()), limits=Limits(100, {}, {"lab": 900}))
    keeper.hold_all()
    assert quotas.applied == {"ada": 100, "zoe": 900}


def test_a_home_that_cannot_be_held_to_its_limit_starts_nothing(place: Path) -> None:
    class Broken(Counted):
        def apply(self, home: Path, name: str, limit: int | None) -> None:
            raise OSError(1, "Operation not permitted")

    with pytest.raises(HomeFailed, match=r"no limit could be set to .*/ada \(Operation not permitted\)"):
        Keeper(place, quotas=Broken()).ensure("ada", None)


# -- put away --------------------------------------------------------------------------------------------------------


def test_a_home_is_put_away_and_the_next_start_makes_another(place: Path, skeleton: Path) -> None:
    made = keeper(place, skeleton)
    before = made.ensure("ada", None)
    (before.path / "work").write_text("words")
    done = made.archive("ada")
    assert not (place / "ada").exists()
    assert done.tar.parent == place / ARCHIVED
    assert stat.S_IMODE(done.tar.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(done.tar.stat().st_mode) == 0o600
    assert done.size == done.tar.stat().st_size
    with tarfile.open(done.tar) as archive:
        assert sorted(archive.getnames()) == ["ada", "ada/course", "ada/course/start.ipynb", "ada/link", "ada/work"]
        source = archive.extractfile("ada/work")
        assert source is not None
        assert source.read() == b"words"
        assert archive.getmember("ada/link").issym()
    assert (done.moved / "work").read_text() == "words"
    again = made.ensure("ada", None)
    assert again.inode != before.inode
    assert sorted(os.listdir(again.path)) == ["course", "link"]
    assert [home.name for home in made.report()] == ["ada"]


def test_one_that_could_not_be_archived_stays_where_it_is(place: Path) -> None:
    made = keeper(place)
    home = made.ensure("ada", None)
    (home.path / "large").write_bytes(os.urandom(300_000))
    with (
        files_of_at_most(100_000),
        pytest.raises(HomeFailed, match=r"could not be archived \(File too large\); it was"),
    ):
        made.archive("ada")
    assert (home.path / "large").stat().st_size == 300_000
    assert os.listdir(place / ARCHIVED) == []
    assert made.ensure("ada", None) == home, "and can be used"


def test_an_archive_that_is_not_whole_is_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that forgets what was written to it."""
    made = keeper(place)
    home = made.ensure("ada", None)
    (home.path / "large").write_bytes(os.urandom(300_000))

    def forgetful(descriptor: int) -> None:
        os.ftruncate(descriptor, 150_000)

    monkeypatch.setattr("hubfleet.homes.archive.os.fsync", forgetful)
    with pytest.raises(HomeFailed, match="it was left as it is"):
        made.archive("ada")
    assert (home.path / "large").exists()
    assert os.listdir(place / ARCHIVED) == []


def test_what_a_killed_one_has_left_goes_with_the_next(place: Path) -> None:
    made = keeper(place)
    for name in ("ada", "ada-b"):
        made.ensure(name, None)
    (place / ARCHIVED).mkdir()
    left = [".ada-20261101T101112Z.new", ".ada-b-20261101T101112Z.new"]
    for name in left:
        (place / ARCHIVED / name).touch()
    done = made.archive("ada")
    assert sorted(os.listdir(place / ARCHIVED)) == sorted([left[1], done.tar.name, done.moved.name])


def test_there_is_nothing_to_put_away(place: Path) -> None:
    with pytest.raises(NoHome, match="there is no home"):
        keeper(place).archive("ada")
