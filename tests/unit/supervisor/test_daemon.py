"""The supervisor as a process: it keeps its processes running, and ends with nothing left behind."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hubfleet.supervisor.spec import ProcessSpec, ProcessStatus, SupervisorStatus, identity, write_spec
from waiting import soon

SLEEPER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")
COMMAND = (sys.executable, "-m", "hubfleet.supervisor.daemon")


class Site:
    """A supervisor and its directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def want(self, name: str, *argv: str, fingerprint: str = "1", order: int = 1) -> None:
        log = str(self.folder / f"{name}.log")
        write_spec(self.folder / f"{name}.process.json", ProcessSpec(name, order, argv, {}, fingerprint, log))

    def start(self, *options: str) -> None:
        stdin = subprocess.PIPE if options else subprocess.DEVNULL
        with open(self.folder / "supervisor.log", "ab") as log:
            self.process = subprocess.Popen([*COMMAND, str(self.folder), *options], stdin=stdin, stdout=log, stderr=log)
        soon(lambda: SupervisorStatus.read(self.folder))

    def tell(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    def status(self, name: str) -> ProcessStatus | None:
        status = SupervisorStatus.read(self.folder)
        return status.processes.get(name) if status else None

    def running(self, name: str) -> int:
        """The process id, once it runs and is past its start."""

        def look() -> int | None:
            status = self.status(name)
            return status.pid if status and status.state == "running" else None

        return soon(look)

    def said(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    if site.process:
        site.process.terminate()
        site.process.wait(20)


def gone(pid: int) -> bool:
    return identity(pid) is None


def test_what_dies_is_started_again(site: Site) -> None:
    site.want("a", *SLEEPER)
    site.start()
    first = site.running("a")
    os.kill(first, signal.SIGKILL)
    second = soon(lambda: site.running("a") != first and site.running("a"))
    status = site.status("a")
    assert status
    assert (status.pid, status.restarts, status.last_exit) == (second, 1, -signal.SIGKILL)


def test_what_dies_at_once_is_tried_again_with_pauses_that_grow(site: Site) -> None:
    site.want("a", sys.executable, "-c", "import time; print(time.time(), flush=True)")
    site.start()
    times = soon(lambda: len(site.said("a").split()) >= 5 and [float(word) for word in site.said("a").split()])
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    for gap, at_least in zip(gaps, (0.2, 0.4, 0.8, 1.6), strict=False):
        assert gap >= at_least


def test_an_operator_does_not_wait_for_the_pause(site: Site) -> None:
    program = site.folder / "program"
    site.want("a", str(program))
    site.start()
    soon(lambda: "again in 6.4 s" in site.said("supervisor"), 30)
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    began = time.monotonic()
    site.tell(signal.SIGHUP)
    site.running("a")
    assert time.monotonic() - began < 5  # of the pause of 6.4


def test_a_changed_process_is_replaced_and_others_are_left_alone(site: Site) -> None:
    for name in ("a", "b", "c"):
        site.want(name, *SLEEPER)
    site.start()
    before = {name: site.running(name) for name in ("a", "b", "c")}
    site.want("a", *SLEEPER, fingerprint="2")
    (site.folder / "c.process.json").unlink()
    site.want("d", *SLEEPER)
    site.tell(signal.SIGHUP)
    site.running("d")
    assert site.running("a") != before["a"]
    assert site.running("b") == before["b"]
    assert site.status("c") is None
    assert gone(before["a"])
    assert gone(before["c"])


def test_an_unreadable_file_changes_nothing(site: Site) -> None:
    site.want("a", *SLEEPER)
    site.start()
    pid = site.running("a")
    (site.folder / "a.process.json").write_text('{"name": "a"')
    site.tell(signal.SIGHUP)
    soon(lambda: "cannot be read, nothing changed" in site.said("supervisor"))
    assert site.running("a") == pid


STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


def test_sigterm_stops_in_reverse_order_and_kills_the_stubborn(site: Site) -> None:
    site.want("first", sys.executable, "-c", STUBBORN, order=1)
    site.want("last", *SLEEPER, order=2)
    site.start()
    pids = [site.running("first"), site.running("last")]
    soon(lambda: "up" in site.said("first"))
    site.tell(signal.SIGTERM)
    assert site.process
    assert site.process.wait(30) == 0
    assert all(gone(pid) for pid in pids)
    log = site.said("supervisor")
    assert log.index("last: stopped") < log.index("first: did not end in 10 s, killed") < log.index("first: stopped")
    assert SupervisorStatus.read(site.folder) is None


def test_a_killed_supervisor_takes_its_processes_with_it(site: Site) -> None:
    site.want("a", *SLEEPER)
    site.start()
    pid = site.running("a")
    site.tell(signal.SIGKILL)
    soon(lambda: gone(pid))
    assert SupervisorStatus.read(site.folder) is None
    assert site.process
    site.process.wait()
    site.start()  # its lock died with it
    assert site.running("a") != pid


def test_an_attached_one_ends_with_whoever_started_it(site: Site) -> None:
    site.want("a", *SLEEPER)
    site.start("--attached")
    pid = site.running("a")
    assert site.process
    assert site.process.stdin
    site.process.stdin.close()
    assert site.process.wait(20) == 0
    assert gone(pid)


def test_there_is_never_a_second_one(site: Site) -> None:
    site.want("a", *SLEEPER)
    site.start()
    pid = site.running("a")
    second = subprocess.run([*COMMAND, str(site.folder)], capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert "already has a supervisor" in second.stderr
    assert site.running("a") == pid
    assert len(psutil.Process(site.process.pid if site.process else 0).children()) == 1


def test_a_status_of_a_reused_process_id_is_not_believed(tmp_path: Path) -> None:
    own = identity(os.getpid())
    assert own
    SupervisorStatus(os.getpid(), *own, False, {}).write(tmp_path)
    assert SupervisorStatus.read(tmp_path)
    for start, boot in ((own[0] + 1, own[1]), (own[0], "another boot")):
        SupervisorStatus(os.getpid(), start, boot, False, {}).write(tmp_path)
        assert SupervisorStatus.read(tmp_path) is None
    (tmp_path / "status.json").write_text(json.dumps({})[:-1])
    assert SupervisorStatus.read(tmp_path) is None


def test_logs_are_kept_small_while_it_runs(site: Site) -> None:
    flood = "import time\nwhile True:\n print('x' * 9999, flush=True)\n time.sleep(0.0005)"
    site.want("a", sys.executable, "-c", flood)
    (site.folder / "servers").mkdir()
    other = site.folder / "servers" / "ada.log"
    other.write_bytes(b"x" * 6_000_000)
    site.start()
    soon(lambda: (site.folder / "a.log.1").exists() and other.stat().st_size == 0, 60)
    assert (site.folder / "a.log.1").stat().st_size <= 5 * 1024 * 1024
    size = (site.folder / "a.log").stat().st_size
    soon(lambda: (site.folder / "a.log").stat().st_size > size)
