"""The supervisor as a program: ``python -m hubfleet.supervisor.daemon <directory> [--attached]``.

It starts the processes described in its directory, starts again what dies (at once, then with longer and longer
pauses), and reads the directory anew on SIGHUP: what changed is restarted, what is new or waits in a pause is started,
what is gone is stopped.
SIGTERM stops everything in reverse order. Its children die with it, so that there is never a second set of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from hubfleet.logfiles import open_log, rotate_all
from hubfleet.supervisor.spec import LOCK, ProcessSpec, ProcessStatus, SupervisorStatus, identity, read_specs

log = logging.getLogger("hubfleet.supervisor")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
STEADY_S = 30.0  # a process that lived this long has earned a fresh start of the pauses
STOP_GRACE_S = 10.0
ROTATE_EVERY_S = 5.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Keeper:
    """Keeps one process running."""

    def __init__(self, spec: ProcessSpec, changed: asyncio.Event) -> None:
        self.spec = spec
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._state, self._since, self._restarts = "waiting", time.time(), 0
        self._last_exit: int | None = None
        self._stopping = False
        self._hurry = asyncio.Event()
        self._task = asyncio.create_task(self._keep())

    def status(self) -> ProcessStatus:
        pid = self._process.pid if self._process and self._state == "running" else None
        return ProcessStatus(self._state, pid, self.spec.fingerprint, self._since, self._restarts, self._last_exit)

    def _enter(self, state: str) -> None:
        self._state, self._since = state, time.time()
        self._changed.set()

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            started = time.monotonic()
            try:
                self._process = await self._start()
            except OSError as error:
                log.error("%s: could not be started: %s", self.spec.name, error)
                self._last_exit = None
            else:
                self._enter("running")
                log.info("%s: started, process %d", self.spec.name, self._process.pid)
                self._last_exit = await self._process.wait()
            if self._stopping:
                return
            pause = FIRST_PAUSE_S if time.monotonic() - started > STEADY_S else pause
            log.warning("%s: ended with %s; again in %.1f s", self.spec.name, self._last_exit, pause)
            self._enter("waiting")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), pause)
                pause = FIRST_PAUSE_S
            self._hurry.clear()
            pause = min(LONGEST_PAUSE_S, pause * 2)
            self._restarts += 1

    async def _start(self) -> asyncio.subprocess.Process:
        output = open_log(Path(self.spec.log))
        try:
            return await asyncio.create_subprocess_exec(
                *self.spec.argv,
                env=self.spec.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        finally:
            os.close(output)

    def hurry(self) -> None:
        """Start the process now if it is waiting: somebody may have mended what it died of."""
        if self._state == "waiting":
            self._hurry.set()

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL after a while."""
        self._stopping = True
        self._enter("stopping")
        process = self._process
        if process is None or process.returncode is not None:
            self._task.cancel()
        else:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(asyncio.shield(self._task), STOP_GRACE_S)
            except asyncio.TimeoutError:
                log.warning("%s: did not end in %.0f s, killed", self.spec.name, STOP_GRACE_S)
                process.kill()
        await asyncio.gather(self._task, return_exceptions=True)
        log.info("%s: stopped", self.spec.name)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Supervisor:
    """All processes of one hub."""

    def __init__(self, directory: Path, attached: bool) -> None:
        self._directory = directory
        self._attached = attached
        self._keepers: dict[str, Keeper] = {}
        self._changed = asyncio.Event()
        self._ending = asyncio.Event()
        self._reload = asyncio.Event()
        self._reload.set()

    async def run(self) -> None:
        """Serve until SIGTERM or, when attached, until standard input is closed."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        loop.add_signal_handler(signal.SIGTERM, self._ending.set)
        if self._attached:
            loop.add_reader(0, self._ending.set)  # the other end closes when the command in front ends, however
        tasks = [asyncio.create_task(work()) for work in (self._follow, self._publish, self._rotate)]
        await self._ending.wait()
        for task in tasks:
            task.cancel()
        for keeper in sorted(self._keepers.values(), key=lambda keeper: -keeper.spec.order):
            await keeper.stop()

    async def _follow(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            try:
                wanted = read_specs(self._directory)
            except (OSError, ValueError, TypeError) as error:
                log.error("%s: cannot be read, nothing changed: %s", self._directory, error)
                continue
            await self._converge(wanted)

    async def _converge(self, wanted: dict[str, ProcessSpec]) -> None:
        for name in [name for name, keeper in self._keepers.items() if keeper.spec != wanted.get(name)]:
            await self._keepers.pop(name).stop()
        for name, spec in wanted.items():
            if name in self._keepers:
                self._keepers[name].hurry()
            else:
                self._keepers[name] = Keeper(spec, self._changed)
        self._changed.set()

    async def _publish(self) -> None:
        own = identity(os.getpid())
        assert own is not None
        while True:
            self._changed.clear()
            processes = {name: keeper.status() for name, keeper in self._keepers.items()}
            try:
                SupervisorStatus(os.getpid(), *own, self._attached, processes).write(self._directory)
            except OSError as error:
                log.error("status not written: %s", error)
                await asyncio.sleep(1)
                continue
            await self._changed.wait()

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(ROTATE_EVERY_S)
            try:
                for directory in {Path(keeper.spec.log).parent for keeper in self._keepers.values()}:
                    await asyncio.to_thread(rotate_all, directory)
            except OSError as error:
                log.error("logs not rotated: %s", error)


def main() -> None:
    """Entry point. Exits at once when this directory already has a supervisor."""
    directory, attached = Path(sys.argv[1]), "--attached" in sys.argv[2:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    with open(directory / LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"{directory} already has a supervisor")
        asyncio.run(Supervisor(directory, attached).run())


if __name__ == "__main__":
    main()
