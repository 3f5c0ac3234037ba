"""The hub's database: changes go to a log beside it, and which of them wait for the disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from jupyterhub import orm
from nativeauthenticator.orm import UserInfo
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from hubfleet.hub.database import OPTIONS, KeptConnection
from hubfleet.hub.preflight import check_database

KILLED = """
import os, signal, sys
from jupyterhub import orm
from hubfleet.hub.database import OPTIONS, KeptConnection
session = orm.new_session_factory(sys.argv[1], **OPTIONS)()
session.add(orm.User(name="made"))
session.commit()
session.add(orm.User(name="begun"))
session.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jupyterhub.sqlite"


@pytest.fixture
def session(path: Path) -> Session:
    made: Session = orm.new_session_factory(f"sqlite:///{path}", **OPTIONS)()
    return made


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files somebody waited for until they were on the disk."""
    names: list[str] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    return names


def test_changes_go_to_a_log_that_is_not_waited_for(session: Session, path: Path, written: list[str]) -> None:
    assert session.scalar(text("PRAGMA journal_mode")) == "wal"
    assert session.scalar(text("PRAGMA synchronous")) == 1
    session.add(orm.User(name="ada"))
    session.commit()
    assert path.with_name("jupyterhub.sqlite-wal").stat().st_size > 0
    assert written == []


def test_an_account_or_a_removal_waits_for_the_disk(session: Session, written: list[str]) -> None:
    log = "jupyterhub.sqlite-wal"
    user, info = orm.User(name="ada"), UserInfo(username="ada", password=b"hash", is_authorized=True)
    session.add_all([user, info])
    session.commit()
    assert written == [log]
    info.is_authorized = False
    session.flush()
    session.rollback()
    user.last_activity = None
    session.commit()
    assert written == [log]
    info.is_authorized = False
    session.flush()  # and what follows in the same transaction is something else
    user.cookie_id = "another"
    session.commit()
    assert written == [log, log]
    session.delete(user)
    session.commit()
    assert written == [log, log, log]


def test_a_killed_hub_has_lost_nothing_it_had_made(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, f"sqlite:///{path}"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.with_name("jupyterhub.sqlite-wal").stat().st_size > 0
    check_database(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM users").fetchall() == [("made",)]
    connection.close()


def test_without_a_log_sqlite_waits_for_the_disk_itself(path: Path, written: list[str]) -> None:
    # In memory there is no log either, as on a file system that has no shared memory.
    connection = OPTIONS["connect_args"]["factory"](":memory:")
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()


def test_the_kept_connection_outlives_a_change_that_fails(path: Path) -> None:
    orm.new_session_factory(f"sqlite:///{path}", **OPTIONS)
    session = KeptConnection(bind=create_engine(f"sqlite:///{path}", connect_args={"timeout": 0.1}))
    kept = session.connection()
    session.commit()
    with sqlite3.connect(path) as other:
        other.execute("BEGIN IMMEDIATE")
        session.add(orm.User(name="ada"))
        with pytest.raises(OperationalError, match="locked"):
            session.commit()
        session.rollback()
    session.add(orm.User(name="ada"))
    session.commit()
    assert session.connection() is kept
    assert isinstance(session.bind, Engine)  # others ask it for connections of their own
    assert [name for (name,) in other.execute("SELECT name FROM users")] == ["ada"]
    other.close()
