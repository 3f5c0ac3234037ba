"""The launcher's side of the fork server: keeps a parent running, and asks it for servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hubfleet.forkserver import parent, tied
from hubfleet.logfiles import open_log

log = logging.getLogger("hubfleet.forkserver")

READY_LIMIT_S = 600.0
PATIENCE_S = 10.0  # for a parent that is still preloading: less than what a plain start takes on a busy machine
ANSWER_LIMIT_S = 10.0
AGAIN_S, AGAIN_MOST_S = 1.0, 60.0
GROWTH = 2.0  # a parent that has become that many times larger is replaced


class ForkServer:
    """One parent of servers, or of starters of kernels, replaced when it dies or grows.

    ``program``: its file. ``name`` and ``what``: how the log calls it and its children.
    """

    def __init__(
        self,
        python: Path,
        output: Path,
        growth: float = GROWTH,
        *,
        program: str = parent.__file__,
        name: str = "the fork server",
        what: str = "servers",
    ) -> None:
        self._python = python
        self._growth = growth
        self._output = output
        self._program, self._name, self._what = program, name, what
        self._settings: Mapping[str, Any] = {}
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._ends: dict[int, asyncio.Future[int | None]] = {}
        self._ready = asyncio.Event()
        self._number = 0
        self._first_size = 0
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The parent's process id; None while there is none that is ready."""
        return self._process.pid if self._process and self._ready.is_set() else None

    def open(self, settings: Mapping[str, Any]) -> None:
        """Begin to keep a parent with these settings (see ``parent.main``); returns at once."""
        self._settings = settings
        self._keeping = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Let the parent go. Its servers go on."""
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping

    async def spawn(self, spec: Mapping[str, Any], *descriptors: int) -> int | None:
        """Have a child forked that gets these descriptors (see ``parent.py`` and ``kernels.py``).

        Returns its process id, or None where only a plain start will do just now.
        """
        if self._process is None:
            return None
        try:
            await asyncio.wait_for(self._ready.wait(), PATIENCE_S)
        except asyncio.TimeoutError:
            return None
        if self._control is None:
            return None
        self._number += 1
        number = self._number
        self._answers[number] = asyncio.get_running_loop().create_future()
        reading, writing = os.pipe()
        try:
            try:
                socket.send_fds(self._control, [json.dumps({"id": number}).encode()], [reading, *descriptors])
            finally:
                os.close(reading)
            pid = await asyncio.wait_for(self._answers[number], ANSWER_LIMIT_S)
            # Only now: a child that nobody knows must not become a server. It may be more than a pipe holds at once.
            await asyncio.to_thread(_write, writing, json.dumps(spec))
            return pid
        except (OSError, asyncio.TimeoutError) as error:
            why = str(error) or "in time"
            log.warning("%s does not answer (%s); %s are started plainly for now", self._name, why, self._what)
            self._give_up()
            return None
        finally:
            os.close(writing)
            self._answers.pop(number, None)

    async def exit_code(self, pid: int) -> int | None:
        """How a server that has ended did end; None where nobody saw it."""
        if pid not in self._ends:
            return None
        with contextlib.suppress(asyncio.TimeoutError):
            return await asyncio.wait_for(asyncio.shield(self._ends[pid]), ANSWER_LIMIT_S)
        return None

    def forget(self, pid: int) -> None:
        """Nobody will ask for this exit code any more."""
        self._ends.pop(pid, None)

    async def _keep(self) -> None:
        pause = AGAIN_S
        try:
            while True:
                started = asyncio.get_running_loop().time()
                await self._one_life()
                if asyncio.get_running_loop().time() - started > AGAIN_MOST_S:
                    pause = AGAIN_S
                about = (self._name, self._what, pause)
                log.warning("%s has ended; %s are started plainly for now, next try in %.0f s", *about)
                await asyncio.sleep(pause)
                pause = min(AGAIN_MOST_S, pause * 2)
        finally:
            self._kill()

    async def _one_life(self) -> None:
        """Start a parent and follow what it says until it ends."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        settings = json.dumps({**self._settings, "control": theirs.fileno()})
        try:
            output = open_log(self._output)
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *(str(self._python), self._program, settings),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    cwd="/",
                    env={"PATH": os.defpath, "LANG": "C.UTF-8", **tied.NOBODYS, **self._settings["environment"]},
                    pass_fds=(theirs.fileno(),),
                )
            finally:
                os.close(output)
        except OSError as error:
            log.warning("%s cannot be started: %s", self._name, error)
            ours.close()
            return
        finally:
            theirs.close()
        self._control = ours
        ended = asyncio.ensure_future(self._process.wait())
        try:
            while True:
                heard = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(ours, parent.MESSAGE))
                # Its end is not the socket's: a child that was stopped right after the fork still has that open.
                limit = None if self._ready.is_set() else READY_LIMIT_S
                await asyncio.wait([heard, ended], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
                if not heard.done():
                    heard.cancel()
                    return
                if not heard.result():
                    return
                self._heard(json.loads(heard.result()))
        except OSError:
            return
        finally:
            ended.cancel()
            self._kill()

    def _heard(self, said: Mapping[str, Any]) -> None:
        if "ready" in said:
            if said["threads"] != 1:
                log.warning("%s has %d threads and is not used: a fork would lose them", self._name, said["threads"])
                return
            for failure in said["failed"]:
                log.info("not loaded beforehand: %s", failure)
            self._first_size = self._size()
            self._ready.set()
            if said["not_prepared"]:
                log.info("servers are not prepared up to the middle of their start: %s", said["not_prepared"])
            about = (self._name, self._first_size / 1e6, said["rehearsed"])
            log.info("%s is ready (%.0f MB, %d modules rehearsed)", *about)
        elif "pid" in said:
            self._ends[said["pid"]] = asyncio.get_running_loop().create_future()
            if said["id"] in self._answers:
                self._answers[said["id"]].set_result(said["pid"])
            if self._size() > self._growth * self._first_size and all(one.done() for one in self._answers.values()):
                log.warning("%s has grown too large and is replaced", self._name)
                self._give_up()
        elif said["ended"] in self._ends:
            self._ends[said["ended"]].set_result(said["code"])

    def _size(self) -> int:
        """The parent's resident memory in bytes; 0 when it has ended."""
        try:
            pages = int(Path(f"/proc/{self._process.pid if self._process else 0}/statm").read_text().split()[1])
        except OSError:
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _give_up(self) -> None:
        """Use this parent no more. Its end is heard by who follows what it says, and then there is another."""
        self._ready.clear()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _kill(self) -> None:
        """End the parent; what it was asked for fails over to a plain start. Its children go on."""
        self._ready.clear()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process = None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("it has ended"))
        for end in self._ends.values():
            if not end.done():
                end.set_result(None)


def _write(descriptor: int, text: str) -> None:
    # A child that has died at once is found out by who waits for it to be up.
    with contextlib.suppress(BrokenPipeError), open(descriptor, "w", encoding="utf-8", closefd=False) as pipe:
        pipe.write(text)


def distributions(lock: str) -> Sequence[str]:
    """The names in a lock file."""
    return sorted(
        {line.partition("==")[0].strip() for line in lock.splitlines() if "==" in line and line[0] not in " #"}
    )
