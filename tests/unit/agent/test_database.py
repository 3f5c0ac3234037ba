"""The hub's database: copied while it is written to, put back once, and never lost on the way."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hubfleet.agent import database
from hubfleet.agent.converge import apply, observe
from hubfleet.errors import ApplyError, CheckError
from hubfleet.resources import Change, Database

PROGRAM = """
import os, signal, sys
from hubfleet.agent.converge import apply, observe
from hubfleet.resources import Database
step = Database(*sys.argv[1:4], container="", mark=7)
seen = 0
def hook(event, arguments):
    global seen
    if event in ("os.rename", "os.remove", "os.chown", "sqlite3.connect", "os.truncate"):
        seen += 1
        if seen == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)
change = step.diff(observe([step])[step.id])
sys.addaudithook(hook)
change and apply(change, print)
"""


RETURN = """
import os, signal, sys
from hubfleet.agent import database
seen = 0
def hook(event, arguments):
    global seen
    if event in ("os.rename", "os.remove", "os.chown", "sqlite3.connect", "os.truncate"):
        seen += 1
        if seen == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
database.return_to(*sys.argv[1:3], print)
"""


def make(path: Path, *names: str) -> None:
    """With JupyterHub's version and people, in SQLite's write-ahead form."""
    with closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE alembic_version (version_num)")
        made.execute("INSERT INTO alembic_version VALUES ('one')")
        made.execute("CREATE TABLE users (name)")
        made.executemany("INSERT INTO users VALUES (?)", [(name,) for name in names])
        made.commit()


def people(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as opened:
        return [row[0] for row in opened.execute("SELECT name FROM users")]


def add(path: Path, name: str) -> None:
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("INSERT INTO users VALUES (?)", (name,))
        opened.commit()


@pytest.fixture
def there(tmp_path: Path) -> Database:
    make(tmp_path / "hub.sqlite", "ada", "bob")
    make(tmp_path / "copy.sqlite", "ada")
    paths = (str(tmp_path / name) for name in ("hub.sqlite", "copy.sqlite", "kept.sqlite"))
    return Database(*paths, container="", mark=7)


def put_back(step: Database) -> bool:
    change = step.diff(observe([step])[step.id])
    return change is not None and apply(change, lambda text: None)


def test_a_copy_has_what_is_not_yet_in_the_database_itself(tmp_path: Path) -> None:
    path, target = tmp_path / "hub.sqlite", tmp_path / "copy"
    assert not database.keep(str(path), str(target))
    make(path, "ada")
    with closing(sqlite3.connect(path)) as hub:
        hub.execute("PRAGMA wal_autocheckpoint=0")
        hub.execute("INSERT INTO users VALUES ('bob')")
        hub.commit()
        assert database.keep(str(path), str(target))
        assert people(target) == ["ada", "bob"]
        assert target.stat().st_mode & 0o777 == 0o600
        assert sorted(entry.name for entry in tmp_path.glob("copy*")) == ["copy"]


@pytest.mark.parametrize("changed", ["CREATE TABLE later (x)", "UPDATE alembic_version SET version_num = 'two'"])
def test_a_copy_is_not_replaced_by_what_another_hub_has_made_of_it(tmp_path: Path, changed: str) -> None:
    path, target = tmp_path / "hub.sqlite", tmp_path / "copy"
    make(path, "ada")
    database.keep(str(path), str(target))
    add(path, "bob")
    database.keep(str(path), str(target))
    assert people(target) == ["ada", "bob"]
    with closing(sqlite3.connect(path)) as hub:
        hub.execute(changed)
        hub.commit()
    add(path, "eve")
    database.keep(str(path), str(target))
    assert people(target) == ["ada", "bob"]


def test_it_is_put_back_once_and_the_present_one_is_kept(there: Database) -> None:
    assert put_back(there)
    assert (people(Path(there.path)), people(Path(there.kept))) == (["ada"], ["ada", "bob"])
    add(Path(there.path), "eve")
    assert not put_back(there), "what the hub wrote since is its own"
    assert people(Path(there.path)) == ["ada", "eve"]


@pytest.mark.parametrize("gone", [False, True])
def test_the_log_of_the_present_one_is_not_played_into_it(there: Database, gone: bool) -> None:
    """Whether or not somebody has removed the database and left its log."""
    code = f"""
import os, sqlite3
hub = sqlite3.connect({there.path!r})
hub.execute("PRAGMA wal_autocheckpoint=0")
hub.execute("INSERT INTO users VALUES ('eve')")
hub.commit()
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code])
    assert Path(f"{there.path}-wal").stat().st_size > 0
    shutil.copy(there.path, there.copy)  # a log fits the database that it was made beside
    if gone:
        Path(there.path).unlink()
    put_back(there)
    assert people(Path(there.path)) == ["ada", "bob"]
    assert gone or people(Path(there.kept)) == ["ada", "bob", "eve"]


def test_killed_at_any_moment_nothing_is_lost_and_it_is_brought_to_its_end(tmp_path: Path) -> None:
    for count in range(1, 60):
        folder = tmp_path / str(count)
        folder.mkdir()
        make(folder / "hub.sqlite", "ada", "bob")
        make(folder / "copy.sqlite", "ada")
        paths = [str(folder / name) for name in ("hub.sqlite", "copy.sqlite", "kept.sqlite")]
        done = subprocess.run([sys.executable, "-c", PROGRAM, *paths, str(count)], capture_output=True, text=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        assert people(folder / "hub.sqlite") in (["ada", "bob"], ["ada"])
        put_back(Database(*paths, container="", mark=7))
        assert people(folder / "hub.sqlite") == ["ada"], count
        assert people(folder / "kept.sqlite") == ["ada", "bob"], count
        if done.returncode == 0:
            assert count > 5, "it was killed at too few places"
            return
    raise AssertionError("it never came to its end")


def test_a_link_in_place_of_the_database_is_not_followed(there: Database) -> None:
    real = Path(there.path).rename(f"{there.path}.real")
    os.symlink(real, there.path)
    with pytest.raises(ApplyError, match="is no file"):
        database.keep(there.path, there.kept)
    with pytest.raises(ApplyError, match="is no file"):
        apply(Change(there, "update"), lambda text: None)
    assert people(real) == ["ada", "bob"]


def test_a_copy_that_is_gone_or_damaged_changes_nothing(there: Database) -> None:
    Path(there.copy).write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    with pytest.raises(ApplyError, match="not put back"):
        put_back(there)
    assert people(Path(there.path)) == ["ada", "bob"]
    Path(there.copy).unlink()
    with pytest.raises(CheckError, match="is gone"):
        put_back(there)


def upgrade(path: Path) -> None:
    """As a later hub does, who then writes to it."""
    with closing(sqlite3.connect(path)) as hub:
        hub.execute("CREATE TABLE later (x)")
        hub.commit()
    add(path, "eve")


def test_a_database_that_a_later_hub_has_changed_is_returned_and_that_one_s_is_kept(tmp_path: Path) -> None:
    path, copy = tmp_path / "hub.sqlite", tmp_path / "hub.sqlite.before"
    make(path, "ada")
    assert not database.return_to(str(path), str(copy), print), "there is no copy"
    database.begin_again(str(path), str(copy))
    add(path, "bob")
    assert not database.return_to(str(path), str(copy), print), "the earlier hub can read that"
    assert people(path) == ["ada", "bob"]
    database.begin_again(str(path), str(copy))
    upgrade(path)
    database.keep(str(path), str(copy))
    path.chmod(0o640)
    os.chown(path, 12345, 12346)
    assert database.return_to(str(path), str(copy), print)
    assert people(path) == ["ada", "bob"]
    assert people(Path(f"{copy}.replaced")) == ["ada", "bob", "eve"]
    assert Path(f"{copy}.replaced").stat().st_mode & 0o777 == 0o600
    assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (12345, 12346, 0o600)
    assert not database.return_to(str(path), str(copy), print)
    database.begin_again(str(path), str(copy))
    assert people(copy) == ["ada", "bob"]


def test_one_that_a_later_hub_has_damaged_is_returned(tmp_path: Path) -> None:
    path, copy = tmp_path / "hub.sqlite", tmp_path / "hub.sqlite.before"
    make(path, "ada")
    database.begin_again(str(path), str(copy))
    path.write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    assert database.return_to(str(path), str(copy), print)
    assert people(path) == ["ada"]


def test_killed_at_any_moment_what_is_returned_is_whole(tmp_path: Path) -> None:
    for count in range(1, 60):
        folder = tmp_path / str(count)
        folder.mkdir()
        path, copy = folder / "hub.sqlite", folder / "hub.sqlite.before"
        make(path, "ada")
        database.begin_again(str(path), str(copy))
        upgrade(path)
        done = subprocess.run([sys.executable, "-c", RETURN, path, copy, str(count)], capture_output=True, text=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        assert people(path) in (["ada"], ["ada", "eve"])
        database.return_to(str(path), str(copy), print)
        assert people(path) == ["ada"], count
        assert people(Path(f"{copy}.replaced")) == ["ada", "eve"], count
        if done.returncode == 0:
            assert count > 5, "it was killed at too few places"
            return
    raise AssertionError("it never came to its end")


WITHOUT = """
import sys
sys.modules["sqlite3"] = None  # as where it is a package of its own
from hubfleet.agent import database, serve
from hubfleet.errors import ApplyError
from hubfleet.resources import Database
path = sys.argv[1]
assert database.look(f"{path}.none") is None
step = Database(path, f"{path}.copy", f"{path}.kept", container="", mark=7)
for ask in (lambda: database.look(path), lambda: database.keep(path, f"{path}.kept"),
            lambda: database.apply(step, None, print)):
    try:
        ask()
    except ApplyError as error:
        print(error)
"""


def test_a_python_that_cannot_read_databases(tmp_path: Path) -> None:
    """The agent starts there all the same; what needs it says so, with nothing changed."""
    path = tmp_path / "hub.sqlite"
    make(path, "ada")
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", WITHOUT, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = (
        "this machine's Python has no sqlite3, so the hub's database cannot be read or copied. It is as it was. Try: "
    )
    assert [line.startswith(words) for line in done.stdout.splitlines()] == [True] * 3, done.stdout
    assert path.read_bytes() == before
    assert not Path(f"{path}.kept").exists()
