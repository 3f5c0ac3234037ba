"""What is shown of logs."""

from __future__ import annotations

import io
import logging
import sqlite3

from hubfleet.agent.tools import without_frames


def test_of_a_traceback_stays_what_went_wrong() -> None:
    """Those that Python writes: one that another one led to, and one that JupyterHub's log moves to the right."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    log = logging.Logger("hub")
    log.addHandler(handler)
    log.warning("before")
    try:
        try:
            sqlite3.connect(":memory:").execute("SELECT * FROM missing")
        except sqlite3.Error as error:
            raise OSError("the disk is full") from error
    except OSError:
        log.exception("it failed")
    log.warning("after")
    lines = written.getvalue().splitlines()
    said = without_frames([*lines, *(f"    {line}" for line in lines)])
    ended = ["sqlite3.OperationalError: no such table: missing", "OSError: the disk is full"]
    once = ["before", "it failed", *ended, "after"]
    reason = "The above exception was the direct cause of the following exception:"
    assert [line.strip() for line in said if line.strip() not in ("", reason)] == [*once, *once]
    assert without_frames(["a", "  b", "", "c"]) == ["a", "  b", "", "c"]
