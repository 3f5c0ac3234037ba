"""An earlier JupyterHub's database is brought into this one's form: whole or not at all, and nothing is left beside."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from jupyterhub import dbutil, orm
from sqlalchemy import create_engine

from hubfleet.hub.database import OPTIONS
from hubfleet.hub.upgrade import OfALaterHub, upgrade

EARLIER = "be8ecf03ddac"
"""What JupyterHub had before its release 6: two columns less."""


def make(path: Path) -> None:
    """With ada and ben, as an earlier JupyterHub that was killed has left it: ben is in the log beside it only."""
    url = f"sqlite:///{path}"
    session = orm.new_session_factory(url)()
    session.add(orm.User(name="ada"))
    session.commit()
    session.close()
    told = path.with_name("alembic.ini")
    dbutil.write_alembic_ini(str(told), url)
    command.downgrade(Config(str(told)), EARLIER)
    told.unlink()
    path.chmod(0o600)
    code = f"""
import os, sqlite3
hub = sqlite3.connect({str(path)!r})
hub.execute("PRAGMA journal_mode=WAL")
hub.execute("INSERT INTO users (name, admin, created, cookie_id) VALUES ('ben', 0, '2026-01-01 00:00:00', 'b')")
hub.commit()
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code])
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0


def form(path: Path) -> str:
    with closing(sqlite3.connect(path)) as opened:
        return str(opened.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def people(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [row[0] for row in opened.execute("SELECT name FROM users")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "hub" / "jupyterhub.sqlite"
    made.parent.mkdir()
    make(made)
    return made


def test_an_earlier_database_is_brought_into_this_form(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with pytest.raises(orm.DatabaseSchemaMismatch):
        orm.check_db_revision(engine)
    engine.dispose()
    assert upgrade(path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "and no copy is left to pile up"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    session = orm.new_session_factory(f"sqlite:///{path}", **OPTIONS)()
    assert [(user.name, user.user_info or {}) for user in session.query(orm.User)] == [("ada", {}), ("ben", {})]
    session.close()
    assert not upgrade(path), "once"


def test_one_that_is_yet_to_be_made_is_left_to_jupyterhub(tmp_path: Path) -> None:
    assert not upgrade(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
    with closing(sqlite3.connect(tmp_path / "empty")):
        assert not upgrade(tmp_path / "empty")


def killed_at(moment: int, path: Path) -> bool:
    """Upgrade in a process that ends at its ``moment``-th touch of a file; whether it came to that."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: object) -> None:
            nonlocal seen
            if event in ("os.rename", "os.remove", "sqlite3.connect", "sqlite3.connect/handle"):
                seen += 1
                if seen == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        os._exit(not upgrade(path))
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, -signal.SIGKILL)
    return ended != 0


def test_killed_at_any_moment_it_is_whole_and_the_next_one_does_it(path: Path, tmp_path: Path) -> None:
    moment, killed = 0, True
    while killed:
        moment += 1
        shutil.copytree(path.parent, tmp_path / "again")
        one = tmp_path / "again" / path.name
        killed = killed_at(moment, one)
        known = form(one)
        assert known == EARLIER or not list(one.parent.glob("*-wal")), "the log is the earlier one's"
        assert upgrade(one) == (known == EARLIER)
        assert people(one) == ["ada", "ben"], moment
        assert "upgrading" not in str(os.listdir(one.parent)), moment
        shutil.rmtree(one.parent)
    assert moment > 10, "it was killed at too few places"


def test_one_that_somebody_has_open_is_left_as_it_is(path: Path) -> None:
    """Its log would stay beside what takes its place."""
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM users").fetchone() == (2,)
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            upgrade(path)
    assert (form(path), people(path)) == (EARLIER, ["ada", "ben"])


def test_a_step_that_fails_leaves_it_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("ALTER TABLE spawners ADD COLUMN display_name")  # the last step finds what it is to make
        opened.commit()
    with pytest.raises(Exception, match="duplicate column name: display_name"):
        upgrade(path)
    assert (form(path), people(path)) == (EARLIER, ["ada", "ben"])
    assert "upgrading" not in str(os.listdir(path.parent))


def test_a_later_hub_s_database_is_refused_and_left(path: Path) -> None:
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("UPDATE alembic_version SET version_num = 'fedcba987654'")
        opened.commit()
    with pytest.raises(OfALaterHub, match=r"a form \(fedcba987654\) that this one cannot read.*hubfleet rollback"):
        upgrade(path)
    assert (form(path), people(path)) == ("fedcba987654", ["ada", "ben"])
