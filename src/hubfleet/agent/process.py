"""Start, restart and stop the hub's processes, through their supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from hubfleet.agent.base import Progress
from hubfleet.errors import ApplyError
from hubfleet.logfiles import open_log, tail
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.process import Process
from hubfleet.supervisor.spec import ProcessSpec, ProcessStatus, SupervisorStatus, write_spec
from hubfleet.unixhttp import answers

READY_LIMIT_S = 120.0
_LOOK_EVERY_S = 0.1
_DEATHS = 3

# Supervisors that live only as long as this process: the pipe in each closes when we end, whatever ends us.
_attached: list[subprocess.Popen[bytes]] = []


def observe(process: Process) -> Observed | None:
    """The supervisor starts all that it finds at once: "running" is said of what answers only."""
    status = _status(process)
    if status is None:
        return None
    silent = status.state == "running" and not _ready(process)
    return {"fingerprint": status.fingerprint, "state": "silent" if silent else status.state}


def _status(process: Process) -> ProcessStatus | None:
    supervisor = SupervisorStatus.read(Path(process.directory))
    return supervisor.processes.get(process.name) if supervisor else None


def apply(process: Process, change: Change, progress: Progress) -> None:
    """Returns once the process answers; raises ApplyError with the end of its log when it does not."""
    directory = Path(process.directory)
    spec_file = directory / f"{process.name}.process.json"
    if change.action == "remove":
        spec_file.unlink(missing_ok=True)
        _tell_supervisor(process)
        _await(f"{process.name} ends", lambda: _status(process) is None)
        return
    _end_other_version(process, progress)
    if SupervisorStatus.read(directory) is None:
        # A supervisor that starts would also start, in their old version, the processes whose own steps come later.
        for stale in directory.glob("*.process.json"):
            stale.unlink()
    spec = ProcessSpec(process.name, process.order, process.argv, process.environment, process.fingerprint, process.log)
    write_spec(spec_file, spec)
    _tell_supervisor(process)
    _await_ready(process, progress)


def _end_other_version(process: Process, progress: Progress) -> None:
    """End a supervisor of another version; all its processes are to be restarted anyway, and users' servers stay.

    One that is attached to somebody's terminal stays as it is: that terminal would take its end for the hub's.
    """
    supervisor = SupervisorStatus.read(Path(process.directory))
    if supervisor is None or supervisor.attached:
        return
    running = Path(f"/proc/{supervisor.pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    if running == list(process.supervisor):
        return
    progress("ending the supervisor of the earlier version")
    if process.unit:
        _systemctl("stop", process.unit)
    else:
        os.kill(supervisor.pid, signal.SIGTERM)
    _await("the supervisor of the earlier version ends", lambda: SupervisorStatus.read(Path(process.directory)) is None)


def _systemctl(*arguments: str) -> None:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise ApplyError(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")


def _await(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise ApplyError(f"not within {READY_LIMIT_S:.0f} s: {what}")
        time.sleep(_LOOK_EVERY_S)


def _tell_supervisor(process: Process) -> None:
    """Have the supervisor read its directory; start one where there is none."""
    supervisor = SupervisorStatus.read(Path(process.directory))
    if supervisor is not None:
        os.kill(supervisor.pid, signal.SIGHUP)
        return
    if process.unit:
        _systemctl("daemon-reload")
        _systemctl("enable", process.unit)
        _systemctl("restart", process.unit)
    else:
        _start_supervisor(process)


def _start_supervisor(process: Process) -> None:
    log = open_log(Path(process.log).parent / "supervisor.log")
    try:
        child = subprocess.Popen(
            [*process.supervisor, *(["--attached"] if process.attached else [])],
            stdin=subprocess.PIPE if process.attached else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    finally:
        os.close(log)
    if process.attached:
        _attached.append(child)
    deadline = time.monotonic() + READY_LIMIT_S
    while SupervisorStatus.read(Path(process.directory)) is None:
        if child.poll() is not None:
            last = tail(Path(process.log).parent / "supervisor.log", 3)
            raise ApplyError(f"the supervisor ended with {child.returncode}: {' '.join(last)}")
        if time.monotonic() > deadline:
            raise ApplyError("the supervisor does not answer")
        time.sleep(_LOOK_EVERY_S)


def _await_ready(process: Process, progress: Progress) -> None:
    """Wait until this version of the process runs and answers."""
    progress(f"waiting for {process.name} to answer")
    deadline = time.monotonic() + READY_LIMIT_S
    before = None  # how often this version had died when we began
    while time.monotonic() < deadline:
        status = _status(process)
        if status is not None and status.fingerprint == process.fingerprint:
            if status.state == "running" and _ready(process):
                return
            before = status.restarts if before is None else before
            if status.restarts - before >= _DEATHS:
                break
        time.sleep(_LOOK_EVERY_S)
    last = [line for line in tail(Path(process.log), 12) if line.strip()]
    raise ApplyError(
        f"{process.name} does not come up. The end of its log: " + " / ".join(last[-4:] or ["(empty)"]),
        state="Its supervisor keeps trying; users' running servers are not touched",
        remedy=f"see {process.log}, mend the cause, then run `hubfleet up` again",
    )


def _ready(process: Process) -> bool:
    return not process.ready or answers(Path(process.ready), "/hub/api/")
