"""The database that an earlier JupyterHub has left, brought into the form that this one knows.

JupyterHub can do that itself (`upgrade_db`). It would change the database in place, so that a hub that is killed
meanwhile leaves one that no JupyterHub can read, and first make a copy of the file alone, without the log beside it, at
each attempt another. Here a copy is changed, by JupyterHub's own steps, and takes the database's place when it is done.
What there was before is among the copies that are kept anyway (`preflight`), and where whoever deploys keeps one.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from jupyterhub import __version__, dbutil

from hubfleet.hub.preflight import discard
from hubfleet.privatefiles import sync_directory


class OfALaterHub(Exception):
    """The database has a form that this JupyterHub does not know; the text says what to type."""


def upgrade(path: Path) -> bool:
    """Bring a database into this JupyterHub's form, if it has an earlier one; whether there was anything to do.

    Nobody else may have it open. Killed at any moment, it is as it was, or whole in its new form. Raises OfALaterHub,
    and what SQLite and Alembic raise, with the database as it was.
    """
    form = _form(path)
    if form is None:
        return False  # JupyterHub makes it
    partial = path.with_name(f".{path.name}.upgrading")
    with TemporaryDirectory() as place:
        told = f"{place}/alembic.ini"
        dbutil.write_alembic_ini(told, f"sqlite:///{partial}")
        steps = Config(told)
        known = ScriptDirectory.from_config(steps)
        if form == known.get_current_head():
            return False
        try:
            known.get_revision(form)
        except CommandError as error:
            raise OfALaterHub(
                f"{path}: a later JupyterHub than {__version__} has left the database in a form ({form}) that this "
                "one cannot read. Go back to that one, or to the database of before: hubfleet rollback --list"
            ) from error
        discard(partial)
        try:
            _copy(path, partial)
            command.upgrade(steps, "head")
            os.replace(partial, path)
            sync_directory(path.parent)
        finally:
            discard(partial)
    return True


def _form(path: Path) -> str | None:
    """The name of a database's form; None for a database that is yet to be made."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(path)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return None
        found = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found[0]) if found else None


def _copy(path: Path, partial: Path) -> None:
    """And leave nothing of SQLite's beside the one that is copied: it would be played into what takes its place."""
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
        source.execute("PRAGMA journal_mode=DELETE")
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
