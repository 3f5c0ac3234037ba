"""Run the hub, but not on a database that would make things worse: ``python -m hubfleet.hub.preflight``.

Before JupyterHub starts, its database is checked and, when sound, copied, and again every hour while it runs; the last
three sound copies are kept. A damaged, locked or unwritable one stops the start with one line that says what to do. The
supervisor tries again by itself.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from hubfleet.hub.settings import HubSettings
from hubfleet.layout import MIN_FREE_BYTES

log = logging.getLogger("hubfleet.hub")

LOCK_PATIENCE_S = 5.0
COPIES = 3
COPY_EVERY_S, LOOK_EVERY_S = 3600, 30
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database while it is open, and leaves there when it is killed."""


class Unfit(Exception):
    """The database cannot be used; the text says why and what to type."""


def check_database(path: Path) -> None:
    """Raise Unfit for a damaged, locked or full database; a missing one is fine (the hub makes it)."""
    free = shutil.disk_usage(path.parent).free
    if free < MIN_FREE_BYTES:
        raise Unfit(
            f"{path.parent}: the disk is full ({free} bytes free). Free some space; the hub then starts by itself"
        )
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=LOCK_PATIENCE_S)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            connection.rollback()
    except sqlite3.OperationalError as error:
        raise Unfit(_unusable(path, str(error))) from error
    except sqlite3.DatabaseError as error:
        answer = str(error)
    if answer != "ok":
        raise Unfit(f"{path}: the database is damaged ({answer.splitlines()[0]}). {_remedy(path)}")


def _unusable(path: Path, error: str) -> str:
    if "locked" in error:
        cause = f"another program holds the database. End that program (see: fuser {path})"
    else:
        cause = f"the database cannot be used ({error}). Mend that"
    return f"{path}: {cause}; the hub then starts by itself"


def _copies(path: Path) -> list[Path]:
    """Sound copies, the newest first."""
    return sorted(path.parent.glob(f"{path.name}.good-{'[0-9]' * 8}T{'[0-9]' * 6}"), reverse=True)


def _remedy(path: Path) -> str:
    copies = _copies(path)
    # What lies beside the damaged database belongs to it, and would be played back into the sound one.
    beside = " ".join(f"{path}{suffix}" for suffix in BESIDE)
    away = f"rm -f {beside} && mv {path} {path}.damaged"
    if not copies:
        return f"There is no earlier copy. To begin with an empty one (homes stay): {away}"
    return f"The last sound copy is {copies[0]}. To go back to it: {away} && cp -p {copies[0]} {path}"


def keep_copy(path: Path) -> None:
    """Copy a sound database beside itself. A disk with no room for it costs the copy, not the start."""
    if not path.exists():
        return
    target = path.with_name(f"{path.name}.good-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
    partial = path.with_name(f".{path.name}.copying")
    try:
        discard(partial)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # a copy is one file, with nothing beside it
            answer = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        if answer != "ok":
            raise sqlite3.DatabaseError(answer)
        partial.chmod(0o600)
        os.replace(partial, target)
    except (sqlite3.Error, OSError) as error:
        discard(partial)
        log.warning("no copy of the database was made: %s", error)
    for old in _copies(path)[COPIES:]:
        old.unlink()


def discard(path: Path) -> None:
    """Remove a copy that was begun, with what SQLite keeps beside it."""
    for suffix in ("", *BESIDE):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def keep_copies(path: Path) -> None:
    """Have a copy made whenever the newest is an hour old, beside what this process does, until it ends."""

    def look() -> None:
        while True:
            time.sleep(LOOK_EVERY_S)
            with suppress(OSError):  # such as a copy that somebody removes at this moment
                newest = max((copy.stat().st_mtime for copy in _copies(path)), default=0.0)
                if time.time() - newest >= COPY_EVERY_S:
                    keep_copy(path)

    threading.Thread(target=look, name="copies of the database", daemon=True).start()


def command(config: Path) -> list[str]:
    """The hub's command line."""
    return [sys.executable, "-m", "hubfleet.hub.app", f"--config={config}"]


def main() -> None:
    """Check, copy, become JupyterHub."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    settings = HubSettings.read()
    os.umask(0o077)
    try:
        check_database(settings.layout.database)
    except Unfit as problem:
        log.error("hub not started: %s", problem)
        sys.exit(os.EX_TEMPFAIL)  # the supervisor tries again
    keep_copy(settings.layout.database)
    settings.layout.hub_socket.unlink(missing_ok=True)
    config = Path(__file__).with_name("jupyterhub_config.py")
    os.chdir(settings.layout.hub_dir)
    os.execv(sys.executable, command(config))


if __name__ == "__main__":
    main()
