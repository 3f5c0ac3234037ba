"""Speaks to this machine's Docker engine, over its Unix socket."""

from __future__ import annotations

import calendar
import http.client
import json
import os
import queue
import shutil
import socket
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote, urlencode

from hubfleet.errors import ApplyError, CheckError
from hubfleet.resources.base import Observed
from hubfleet.resources.dockerengine import SOCKET, STOPPED
from hubfleet.unixhttp import Refused, connect, message, request

VERSION = (1, 41)
"""The version of its API that we speak: that of Docker 20.10. An engine that no longer knows it is spoken to in the
oldest one it knows."""
TIMEOUT_S = 60.0
PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


_Messages = Generator[Optional[dict[str, Any]], None, None]


class Absent(ApplyError):
    """There is no such container, image or network."""


class NotRunning(CheckError):
    """Nothing listens where the engine should."""


class Engine:
    """The engine: at DOCKER_HOST (``unix://...``), or where it usually is."""

    def __init__(self) -> None:
        self.socket = socket_path()
        self._version = ""

    def get(self, target: str, headers: Mapping[str, str] | None = None, **query: Any) -> Any:
        """What the engine answers. Raises Absent for what is not there, and otherwise as `call`."""
        return self._request("GET", self._path(target, query), None, TIMEOUT_S, headers)

    def find(self, target: str, **query: Any) -> Any:
        """As `get`; None for what is not there."""
        try:
            return self.get(target, **query)
        except Absent:
            return None

    def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        query: dict[str, Any] | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Any:
        """One request; the JSON of the answer. What the engine was told already it takes in silence.

        Raises ApplyError with the engine's own words if it refuses, and CheckError if it does not answer.
        """
        return self._request(method, self._path(target, query), body, timeout)

    def image(self, name: str) -> Observed | None:
        """Id of an image, and how many containers, running or not, are made from it; None where it is not."""
        found = self.find(f"/images/{name}/json")
        if found is None:
            return None
        containers = self.get("/containers/json", all=True)
        return {"id": found["Id"], "users": sum(1 for one in containers if one["ImageID"] == found["Id"])}

    def forget_image(self, name: str) -> None:
        """Remove an image's name, and the image where that was its last; what is gone is as wanted."""
        with suppress(Absent):
            self.call("DELETE", f"/images/{name}")

    def running(self) -> bool:
        """Whether an engine answers. Raises CheckError if one listens and says nothing, or may not be asked."""
        try:
            self._agree()
        except NotRunning:
            return False
        return True

    def logs(self, container: str, lines: int, after: str | None = None) -> list[str]:
        """The last lines that a container's program said, on both its channels.

        after: a moment as the engine writes it, or "" for the beginning: only what was said after it, and each line
        begins with its own moment and a space.
        """
        query: dict[str, Any] = {"stdout": True, "stderr": True, "tail": "all" if after else lines}
        if after is not None:
            query.update(timestamps=True, **({"since": _since(after)} if after else {}))
        connection = self._connect(TIMEOUT_S)
        try:
            connection.request("GET", self._path(f"/containers/{container}/logs", query))
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            return []
        finally:
            connection.close()
        found = _unframed(said).decode(errors="replace").splitlines() if answer.status == 200 else []
        # "since" gives the line of that very moment again
        return [line for line in found if not after or line.partition(" ")[0] > after][-lines:]

    def stream(
        self,
        target: str,
        body: bytes,
        query: dict[str, Any],
        every: float,
        headers: Mapping[str, str] | None = None,
    ) -> _Messages:
        """The engine's messages on a long task, one after the other; None when `every` seconds pass without one.

        Given up half way (close the generator), the engine ends the task. Raises as `call`.
        """
        connection = self._connect(None)
        link = connection.sock
        path = self._path(target, query)
        arrived: queue.Queue[bytes | Exception | None] = queue.Queue()

        def read() -> None:
            try:
                connection.request("POST", path, body, headers or {"Content-Type": "application/x-tar"})
                answer = connection.getresponse()
                if answer.status >= 400:
                    text = answer.read().decode(errors="replace")
                    raise ApplyError(f"Docker: {message(text) or answer.reason}")
                for line in answer:
                    arrived.put(line)
                arrived.put(None)
            except (OSError, ValueError, AttributeError, http.client.HTTPException, ApplyError) as error:
                arrived.put(error)  # the others: the connection was closed by the one who reads no further

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield from _messages(arrived, every)
        finally:
            link.shutdown(socket.SHUT_RDWR)
            reader.join()
            connection.close()

    def _path(self, target: str, query: dict[str, Any] | None) -> str:
        if not self._version:
            self._agree()
        words = {name: _word(value) for name, value in (query or {}).items()}
        path = f"/v{self._version}{quote(target, safe='/:')}"
        return f"{path}?{urlencode(words)}" if words else path

    def _agree(self) -> None:
        """Choose the version of the API that is spoken."""
        known = self._request("GET", "/version", None, TIMEOUT_S)
        oldest, newest = (
            tuple(map(int, str(known.get(name) or "1.12").split("."))) for name in ("MinAPIVersion", "ApiVersion")
        )
        self._version = ".".join(map(str, max(oldest, min(VERSION, newest))))

    def _connect(self, timeout: float | None) -> http.client.HTTPConnection:
        try:
            return connect(self.socket, timeout)
        except OSError as error:
            raise _unreachable(self.socket, error) from error

    def _request(
        self, method: str, path: str, body: Any, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Any:
        try:
            return request(self.socket, method, path, body, timeout=timeout, headers=headers)
        except Refused as refusal:
            kind = Absent if refusal.status == 404 else ApplyError
            raise kind(f"Docker: {refusal}") from refusal
        except OSError as error:
            raise _unreachable(self.socket, error) from error


def observed_of(look: Any, resource: Any) -> Observed | None:
    """`look(engine, resource)`; STOPPED if the engine is not running, None if there is none: then it has nothing."""
    engine = Engine()
    try:
        found: Observed | None = look(engine, resource)
    except NotRunning:
        return STOPPED if installed() else None
    return found


def installed() -> bool:
    """Whether this machine has a Docker engine, running or not."""
    return tool("dockerd") is not None


def tool(name: str) -> str | None:
    """Where a system's program is; not everybody's PATH has the places for root's."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{PLACES}")


def socket_path() -> Path:
    """Where the engine answers. Raises CheckError if DOCKER_HOST names something that is not a Unix socket."""
    given = os.environ.get("DOCKER_HOST", "")
    if not given:
        return Path(SOCKET)
    if not given.startswith("unix:///"):
        raise CheckError(
            f"DOCKER_HOST is {given}, and hubfleet speaks to Docker over a Unix socket only",
            remedy="unset DOCKER_HOST",
        )
    return Path(given[len("unix://") :])


def _unreachable(path: Path, error: OSError) -> CheckError:
    if isinstance(error, PermissionError):
        return CheckError(f"{path}: Docker may not be used by this account", remedy="run the same command with sudo")
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        if not installed():
            return NotRunning("Docker is not installed", remedy="install it: apt-get install docker.io")
        return NotRunning(f"Docker is not running: nothing listens on {path}", remedy="systemctl start docker")
    return CheckError(f"Docker does not answer on {path} ({error})", remedy="journalctl -u docker, to see what it does")


def _messages(arrived: queue.Queue[bytes | Exception | None], every: float) -> _Messages:
    while True:
        try:
            line = arrived.get(timeout=every)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        if isinstance(line, ApplyError):
            raise line
        if isinstance(line, Exception):
            raise ApplyError(f"Docker: the connection broke ({line})") from line
        if line.strip():
            yield json.loads(line)


def _since(moment: str) -> str:
    """As the engine takes a moment that it has written: 2026-01-31T10:20:30.123456789Z is 1769854830.123456789."""
    whole, _, fraction = moment.rstrip("Z").partition(".")
    return f"{calendar.timegm(time.strptime(whole, '%Y-%m-%dT%H:%M:%S'))}.{fraction or 0}"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return value if isinstance(value, str) else json.dumps(value)


def _unframed(said: bytes) -> bytes:
    """A container's output without the eight bytes before each piece, which end in its length."""
    pieces = []
    while len(said) >= 8:
        end = 8 + int.from_bytes(said[4:8], "big")
        pieces.append(said[8:end])
        said = said[end:]
    return b"".join(pieces)
