"""A cell that runs for as long as a test wants, followed over the public websocket as JupyterLab follows it."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any

import requests
import websocket
from harness import Kernel, Person, await_that

CODE = """
import os, time
os.mkdir({folder!r})
count = 0
while not os.path.exists({folder!r} + "/enough"):
    count += 1
    print(count, flush=True)
    with open({folder!r} + "/noted.txt", "a") as noted:
        noted.write(f"{{count}}\\n")
    time.sleep(0.1)
print("finished", flush=True)
"""
IN_FLIGHT = 3  # lines; the cell prints ten a second
_LOST = (OSError, websocket.WebSocketException)


class SteadyKernel(Kernel):
    """A kernel whose messages are kept for this client while it is away, as they are for an open page."""

    def connect(self) -> websocket.WebSocket:
        url = f"{self.person.hub.url.replace('http', 'ws')}/user/{self.person.name}/api/kernels/{self.id}/channels"
        self._socket = websocket.create_connection(
            f"{url}?session_id=one-open-page", header=[f"Authorization: token {self.person.token}"], timeout=60
        )
        return self._socket


class Cell:
    """Counts, prints each number and notes it in a file, until it is told to finish."""

    def __init__(self, person: Person, home: Path) -> None:
        self.person, self.folder = person, home / f"cell-{uuid.uuid4().hex[:8]}"
        self.kernel = SteadyKernel(person, person.kernel().id)
        self.kernel_pid = int(self.kernel.run("import os; print(os.getpid())"))
        self.server = the_server(person)
        self.seen: list[str] = []
        self.reconnects = 0
        self._message = self.kernel.send(CODE.format(folder=self.folder.name))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.goes_on()

    def _read(self) -> None:
        idle = False
        while not idle:
            try:
                message = self.kernel.receive()
            except _LOST:
                self.reconnects += 1
                self._reconnect()
                continue
            if message["parent_header"].get("msg_id") != self._message:
                continue
            if message["msg_type"] == "stream":
                self.seen += message["content"]["text"].split()
            idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"

    def _reconnect(self) -> None:
        def connected() -> bool:
            try:
                self.kernel.connect()
            except _LOST:
                return False
            return True

        await_that("the page's websocket connects again", connected, 90)

    def noted(self) -> int:
        """How far it has come, by the file in the user's home."""
        path = self.folder / "noted.txt"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def goes_on(self) -> None:
        """Wait until it has counted a few more."""
        begun = self.noted()
        await_that("the cell goes on", lambda: self.noted() > begun + 2)

    def end(self) -> None:
        (self.folder / "enough").touch()

    def finish(self) -> None:
        """Let it end; all that it printed has reached the client, and server and kernel are still the same."""
        self.goes_on()
        self.end()
        await_that("the end of the cell reaches the client", lambda: not self._reader.is_alive(), 60)
        count = self.noted()
        printed = [*map(str, range(1, count + 1)), "finished"]
        lost = set(printed) - set(self.seen)
        # What a dying proxy had taken from the server and not yet passed on is gone from the page, not from the kernel.
        assert len(lost) <= IN_FLIGHT * self.reconnects
        assert self.seen == [line for line in printed if line not in lost]
        assert self.kernel.run("import os; print(os.getpid(), count)") == f"{self.kernel_pid} {count}\n"
        assert the_server(self.person) == self.server
        kernels = self.person.jupyter("GET", "/api/kernels")
        assert kernels.status_code == 200
        assert self.kernel.id in [kernel["id"] for kernel in kernels.json()]
        self.person.jupyter("DELETE", f"/api/kernels/{self.kernel.id}")


def the_server(person: Person) -> dict[str, Any]:
    """The launcher's record of a person's server, with its process id."""
    found = [entry for entry in person.hub.status()["servers"] if entry["user"] == person.name]
    assert len(found) == 1, found
    server: dict[str, Any] = found[0]
    return server


def can_log_in(person: Person) -> bool:
    """Whether a new browser session gets in."""
    try:
        return Person(person.hub, person.name, person.password).log_in().status_code == 302
    except (requests.RequestException, IndexError):
        return False  # the proxy's page instead of the hub's form
