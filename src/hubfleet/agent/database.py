"""Copies the hub's database, and puts a copy back. Whole or not at all, and with nothing of SQLite's beside it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Absent, Engine
from hubfleet.errors import ApplyError
from hubfleet.privatefiles import sync_directory
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.database import Database

try:
    import sqlite3
except ImportError:  # of some distributions it is a package of its own
    sqlite3 = None  # type: ignore[assignment]

PATIENCE_S = 10.0
STOP_S = 10
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database; it belongs to that one only."""
REPLACED = ".replaced"
"""At the end of the name of what a copy was put back in the place of."""


def look(path: str) -> dict[str, Any] | None:
    """A database's form (a digest of its version, tables and columns), mark and time of last change; None if there is
    none.

    Raises ApplyError for one that cannot be read, or that is no file.
    """
    found = _regular(path)
    if found is None:
        return None
    _need_sqlite()
    try:
        with closing(_open(path)) as database:
            return {"form": _form(database), "mark": _mark(database), "changed": found.st_mtime}
    except sqlite3.Error as error:
        raise ApplyError(f"the database {path} cannot be read: {error}") from error


def keep(path: str, target: str) -> bool:
    """Copy a database, also while the hub writes to it. False if there is none.

    An earlier copy is replaced, unless the database has another form or mark by now: then another hub has changed it,
    or it was put back, and the copy is the last of what there was before. Raises ApplyError, with an earlier copy
    intact.
    """
    if _regular(path) is None:
        return False
    _need_sqlite()
    partial = Path(f"{target}.new")
    try:
        with closing(_open(path)) as source:
            if os.path.exists(target):
                with closing(_open(target)) as earlier:
                    if (_form(earlier), _mark(earlier)) != (_form(source), _mark(source)):
                        return True
            _discard(partial)
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            _copy(source, partial)
        os.replace(partial, target)
        sync_directory(partial.parent)
    except (sqlite3.Error, OSError) as error:
        with suppress(OSError):
            _discard(partial)
        raise ApplyError(f"no copy of the database was made: {error}") from error
    return True


def observe(database: Database) -> Observed | None:
    found = look(database.path)
    return {"mark": found["mark"] if found else 0, "copy": os.path.exists(database.copy)}


def apply(database: Database, change: Change, progress: Progress) -> None:
    """Killed at any moment, what is there is the present one or the one put back, whole; and the present one is kept
    before. Raises ApplyError with the database as it was."""
    _need_sqlite()
    progress("stopping the hub")
    _stop(database.container)
    found = _regular(database.path)
    progress("keeping the present database")
    keep(database.path, database.kept)
    progress("putting the earlier one back")
    _put_back(database.copy, database.path, found, database.mark)


def begin_again(path: str, target: str) -> bool:
    """Copy the database of a hub that was stopped, before another one has it. False if there is none.

    An earlier copy, of which nothing came, is replaced. Raises ApplyError, with no copy left.
    """
    Path(target).unlink(missing_ok=True)
    return keep(path, target)


def changed(path: str, copy: str) -> bool:
    """Whether a database has another form than its copy, so that whom the copy was made for cannot read it. False
    without a copy that can be read; True for a database that cannot be read, or is gone."""
    try:
        then = look(copy)
    except ApplyError:
        return False
    try:
        now = look(path)
    except ApplyError:
        now = None
    return then is not None and (now is None or now["form"] != then["form"])


def return_to(path: str, copy: str, progress: Progress) -> bool:
    """Put a copy back where another hub has changed the database's form meanwhile; whether it has.

    What that one has made of it is kept beside the copy. Whoever has the database open is stopped before. Raises
    ApplyError, with the database as it was.
    """
    if not changed(path, copy):
        return False
    progress("putting the database of before back")
    found = _regular(path)
    kept = f"{copy}{REPLACED}"
    try:
        begin_again(path, kept)
    except ApplyError as error:  # one that cannot be read is not worth keeping
        progress(str(error))
    _put_back(copy, path, found)
    return True


def _put_back(copy: str, path: str, found: os.stat_result | None, mark: int | None = None) -> None:
    """Have a copy take the place of the database, with its owner. Raises ApplyError with the database as it was."""
    owner = os.lstat(Path(path).parent) if found is None else found
    partial = Path(f"{path}.hubfleet-new")
    try:
        _discard(partial)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.close(descriptor)
        with closing(_open(copy)) as source:
            _copy(source, partial, mark)
        for suffix in BESIDE:  # it is in the copy that was kept, and would be played into the one put back
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        os.replace(partial, path)
        sync_directory(partial.parent)
    except (sqlite3.Error, OSError) as error:
        with suppress(OSError):
            _discard(partial)
        raise ApplyError(f"the database was not put back: {error}", state="It is as it was") from error


def _need_sqlite() -> None:
    """Raises ApplyError where this machine's Python cannot read databases."""
    if sqlite3 is None:
        raise ApplyError(
            "this machine's Python has no sqlite3, so the hub's database cannot be read or copied",
            state="It is as it was",
            remedy=f"install the module sqlite3 of {sys.executable} there (its distribution's Python library)",
        )


def _stop(container: str) -> None:
    """And have the engine not start it by itself: it would be another hub's program on this database."""
    if not container:
        return
    engine = Engine()
    with suppress(Absent):
        engine.call("POST", f"/containers/{container}/update", {"RestartPolicy": {"Name": "no"}})
        engine.call("POST", f"/containers/{container}/stop", None, {"t": STOP_S}, 60)


def _regular(path: str) -> os.stat_result | None:
    """Its directory is the hub's, who might have put something else there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise ApplyError(f"{path} is no file", state="It was left as it is", remedy=f"move {path} away")
    return found


def _open(path: str | Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=PATIENCE_S)


def _copy(source: sqlite3.Connection, target: Path, mark: int | None = None) -> None:
    """Raises sqlite3.Error if the copy is not sound."""
    with closing(_open(target)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # a copy is one file
        if mark is not None:
            copy.execute(f"PRAGMA user_version={int(mark)}")
            copy.commit()
        answer = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        raise sqlite3.DatabaseError(str(answer))
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _mark(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _form(database: sqlite3.Connection) -> str:
    names = [str(row[0]) for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = database.execute(
        "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1, 2"
    ).fetchall()
    version = (
        database.execute("SELECT version_num FROM alembic_version").fetchall() if "alembic_version" in names else []
    )
    return hashlib.sha256(json.dumps([version, columns]).encode()).hexdigest()[:16]


def _discard(path: Path) -> None:
    for suffix in ("", *BESIDE):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
