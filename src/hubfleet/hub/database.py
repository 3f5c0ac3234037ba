"""JupyterHub's database without a wait for the disk at every change: one start of a server makes many.

Changes are appended to a log beside the database (SQLite's write-ahead log) and brought into it later. A change is safe
from the end of the hub once it is made. It is safe from the end of the machine when the kernel has written it, which is
soon; what changes an account or takes something away is on the disk before anybody is told.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from nativeauthenticator.orm import UserInfo
from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

_MUST_LAST = "hubfleet: this transaction must outlive the machine"


class WriteAhead(sqlite3.Connection):
    """A connection that has the log; where the file system cannot have one, the database stays as it was."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",):
            # Without the log, less than SQLite's own care could damage the database.
            self.execute("PRAGMA synchronous=NORMAL")


OPTIONS = {"connect_args": {"check_same_thread": False, "factory": WriteAhead}}
"""For `JupyterHub.db_kwargs`. The first is JupyterHub's own, which is not added to what is given."""


class KeptConnection(Session):
    """A session that keeps its connection between transactions.

    JupyterHub's takes one from a pool for each transaction and asks it whether it is alive: a connection to a database
    on another machine may not be. This one is to a file. ``bind`` stays the pool's, for whoever wants another one.
    """

    _connection: Connection | None = None

    def get_bind(self, *args: Any, **kwargs: Any) -> Connection:
        """What SQLAlchemy asks for at the beginning of a transaction."""
        if self._connection is None:
            self._connection = super().get_bind(*args, **kwargs).engine.connect()
        return self._connection


@event.listens_for(Session, "after_flush")
def _note(session: Session, context: object) -> None:
    """A start or a log-in that the machine forgets is made again; a password, a block, or a removal is not."""
    if session.deleted or any(isinstance(one, UserInfo) for one in (*session.new, *session.dirty)):
        session.info[_MUST_LAST] = True


@event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    session.info.pop(_MUST_LAST, None)


@event.listens_for(Session, "after_commit")
def _write_out(session: Session) -> None:
    if not session.info.pop(_MUST_LAST, False):
        return
    try:
        log = os.open(f"{session.get_bind().engine.url.database}-wal", os.O_RDONLY)
    except FileNotFoundError:
        return  # there is no log: SQLite has waited for the disk itself
    try:
        os.fsync(log)
    finally:
        os.close(log)
