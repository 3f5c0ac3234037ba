"""Tries out a new generation: a second hub beside the one that serves, a test user in it, and then neither."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from collections import defaultdict
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubfleet.agent import directory, file
from hubfleet.agent.base import Progress
from hubfleet.agent.containerspec import specification
from hubfleet.agent.docker import Absent, Engine
from hubfleet.agent.tools import CREDENTIALS, HEARTBEAT_SECONDS, SHOWN_LINES, without_frames
from hubfleet.errors import ApplyError, HubfleetError
from hubfleet.privatefiles import write_private
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.container import Container
from hubfleet.resources.trial import HUB_LABEL, LABEL, Trial
from hubfleet.unixhttp import answers

READY_LIMIT_S = 120.0
"""How long a part may take until it answers."""
PERSON_LIMIT_S = 600.0

_LOOK_EVERY_S = 0.1
_END_TRIES = 3
_MARK = re.compile("@@(.+?)@@")
_TAKEN = {
    "login": "logged in; starting a server",
    "start": "its server is up; opening JupyterLab",
    "assets": "JupyterLab is open; running a notebook",
    "save": "the notebook ran, and is saved; stopping the server",
}
"""What is told of the steps of `loadtest.trial`."""
_NOT_DONE = {
    "login": "the test user could not log in",
    "start": "the test user's server did not start",
    "page": "JupyterLab did not open",
    "assets": "JupyterLab did not open",
    "kernel": "the notebook's kernel did not start",
    "output": "the notebook did not run",
    "done": "the notebook did not run",
    "save": "the notebook could not be saved",
    "stop": "the test user's server did not stop",
}
_READ_LINES = 500
"""Of a log, before what only its programmers can read is left out."""
_KERNELS = ("kernel", "output", "done")
"""Steps whose failure a kernel's own words may tell of."""
_SERVERS_OWN = re.compile(r"\[[A-Z] \d{4}-\d\d-\d\d [\d:.]+ |--- server started ")
"""How what a server says of itself begins, in the log that its kernels write to as well."""
_HUBS_OWN = ("login", "stop")
"""Steps whose failure the hub's log tells of; for others it is the server's."""


def observe(trial: Trial) -> Observed | None:
    note = Path(trial.note)
    passed = note.read_text().strip() if note.is_file() else ""
    left = os.path.lexists(trial.place)
    return {"passed": passed, "left": left} if passed or left else None


def apply(trial: Trial, change: Change, progress: Progress) -> None:
    """Returns when the test user's notebook has run. Raises ApplyError with what failed, and the end of its log.

    The second hub is gone then, in any case; what a killed trial left is removed first.
    """
    engine = Engine()
    _end(engine, trial)
    if change.action == "remove":
        Path(trial.note).unlink(missing_ok=True)
        return
    try:
        _try_out(engine, trial, progress)
    except HubfleetError as error:
        with suppress(HubfleetError, OSError):  # the next one removes it
            _end(engine, trial)
        raise ApplyError(error.what, state=_state(engine, trial), remedy="mend that, then: hubfleet up") from error
    _end(engine, trial)
    write_private(Path(trial.note), f"{trial.fingerprint}\n")


def _state(engine: Engine, trial: Trial) -> str:
    with suppress(HubfleetError):
        found = engine.find(f"/containers/{trial.serving}/json")
        if found and found["State"]["Running"]:
            return "The hub goes on as it was; nothing of it was replaced"
    return "No part of the hub was started"


def _try_out(engine: Engine, trial: Trial, progress: Progress) -> None:
    progress("starting a second hub beside the one that serves")
    made: defaultdict[str, str] = defaultdict(lambda: secrets.token_hex(32))
    for one in trial.directories:
        directory.apply(one, Change(one, "create"), progress)
    for text in trial.files:
        filled = _MARK.sub(lambda mark: made[mark[1]], text.content) if text.secret else text.content
        file.apply(replace(text, content=filled), Change(text, "create"), progress)
    _copy_database(trial, progress)
    first, *others, last = trial.containers
    for container in (first, *others):
        _start(engine, trial, container)
    _await(engine, first)
    _start(engine, trial, last)
    for container in (*others, last):
        _await(engine, container)
    progress("a test user logs in there")
    _start(engine, trial, trial.person)
    _follow(engine, trial, progress)


def _copy_database(trial: Trial, progress: Progress) -> None:
    """As it is at this moment, less who has a running server: the second hub knows of none."""
    if not Path(trial.database).exists():
        return
    try:
        import sqlite3
    except ImportError:  # of some distributions it is a package of its own
        progress("this machine's Python has no sqlite3: the trial begins with an empty database")
        return
    copy = Path(trial.copy)
    owner = copy.parent.stat()
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(trial.database)) as source, closing(sqlite3.connect(trial.copy)) as target:
            source.backup(target)
            with suppress(sqlite3.OperationalError):  # a database of another make
                target.execute("UPDATE spawners SET server_id = NULL")
                target.commit()
            target.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise ApplyError(f"the hub's database {trial.database} cannot be copied: {error}") from error
    os.chown(copy, owner.st_uid, owner.st_gid)


def _start(engine: Engine, trial: Trial, container: Container) -> None:
    """Unlike one that serves, it is not started again: its first end is the trial's."""
    body = specification(container)
    body["Labels"][LABEL] = trial.hub
    body["HostConfig"]["RestartPolicy"] = {"Name": "no"}
    engine.call("POST", "/containers/create", body, {"name": container.name})
    engine.call("POST", f"/containers/{container.name}/start")


def _await(engine: Engine, container: Container) -> None:
    deadline = time.monotonic() + READY_LIMIT_S
    while time.monotonic() < deadline:
        if _ended(engine, container):
            raise ApplyError(f"{container.name} ended. {_log_of(engine, container)}")
        if answers(Path(container.ready)):
            return
        time.sleep(_LOOK_EVERY_S)
    raise ApplyError(f"{container.name} does not answer after {READY_LIMIT_S:.0f} s. {_log_of(engine, container)}")


def _ended(engine: Engine, container: Container) -> bool:
    found = engine.find(f"/containers/{container.name}/json")
    return found is None or found["State"]["Status"] in ("exited", "dead")


def _follow(engine: Engine, trial: Trial, progress: Progress) -> None:
    """Tell what the test user does, until it is done. Raises ApplyError if something fails."""
    begin = told = time.monotonic()
    known, doing = 0, "a test user logs in there"
    while time.monotonic() - begin < PERSON_LIMIT_S:
        over = _ended(engine, trial.person)
        lines = engine.logs(trial.person.name, 1000)
        for line in lines[known:]:
            said = _parsed(line)
            if said.get("passed"):
                return
            if "failed" in said:
                raise _failed(engine, trial, said["failed"], said["why"])
            if said.get("done") in _TAKEN:
                doing, told = _TAKEN[said["done"]], time.monotonic()
                progress(f"the test user: {doing}")
        known = len(lines)
        if over:
            raise ApplyError(f"the test user ended without a word of how it went. {_log_of(engine, trial.person)}")
        if time.monotonic() - told >= HEARTBEAT_SECONDS:
            told = time.monotonic()
            progress(f"the test user: {doing} ({told - begin:.0f} s)")
        time.sleep(_LOOK_EVERY_S)
    raise _failed(engine, trial, "start", f"not done after {PERSON_LIMIT_S:.0f} s: {doing}")


def _parsed(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _failed(engine: Engine, trial: Trial, step: str, why: str) -> ApplyError:
    logs = [] if step in _HUBS_OWN else sorted(Path(trial.logs).glob("*.log"))
    if logs:
        lines = logs[-1].read_text(errors="replace").splitlines()
        # where a kernel failed, what it said itself, if anything: its server's words would push that out
        words = [line for line in lines if not _SERVERS_OWN.match(line)] if step in _KERNELS else []
        log = _shown("its server's log", words if any(map(str.strip, words)) else lines)
    else:
        log = _log_of(engine, trial.containers[-1])
    return ApplyError(f"{_NOT_DONE.get(step, step)}: {why}. {log}")


def _log_of(engine: Engine, container: Container) -> str:
    return _shown(f"the log of {container.name}", engine.logs(container.name, _READ_LINES))


def _shown(what: str, lines: list[str]) -> str:
    lines = [CREDENTIALS.sub("********@", line) for line in without_frames(lines) if line.strip()][-SHOWN_LINES:]
    return f"The end of {what}:" + "".join(f"\n    {line}" for line in lines or ["(empty)"])


def _end(engine: Engine, trial: Trial) -> None:
    """Remove all there is of a trial; its directory last, for that is how one knows that there is something."""
    if not os.path.lexists(trial.place):
        return
    # first the parts, so that none is left to make what comes after them
    for label in (f"{LABEL}={trial.hub}", f"{HUB_LABEL}={trial.beside}"):
        for again in reversed(range(_END_TRIES)):
            found = engine.get("/containers/json", all=True, filters={"label": [label]})
            for one in found:
                try:
                    engine.call("DELETE", f"/containers/{one['Id']}", None, {"force": True, "v": True})
                except Absent:
                    pass
                except ApplyError:  # the engine is about to remove it
                    if not again:
                        raise
                    time.sleep(_LOOK_EVERY_S)
            if not found:
                break
    shutil.rmtree(trial.place)
