"""HTTP over a Unix socket: how commands speak to hub, launcher, proxy and Docker. Standard library only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from http.client import HTTPConnection
    from pathlib import Path


class Refused(OSError):
    """The answer was an error. ``status`` is the HTTP status; the text is the server's own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def request(
    path: Path,
    method: str,
    target: str,
    body: Any = None,
    token: str | None = None,
    timeout: float = 30.0,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """The JSON of the answer (None for an empty one). ``headers``: more than the usual.

    Raises OSError when nothing answers on the socket within ``timeout`` seconds, Refused for a status of 400 or more.
    """
    from http.client import HTTPException

    sent = {"Content-Type": "application/json", **(headers or {})}
    if token:
        sent["Authorization"] = f"token {token}"
    connection = connect(path, timeout)
    try:
        connection.request(method, target, None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        text = answer.read().decode()
    except HTTPException as error:
        raise OSError(f"{path}: no HTTP answer ({error})") from error
    finally:
        connection.close()
    if answer.status >= 400:
        raise Refused(answer.status, message(text) or answer.reason)
    return json.loads(text) if text.strip() else None


def connect(path: Path, timeout: float | None) -> HTTPConnection:
    """A connection to the server on the socket. The caller closes it. Raises OSError when nothing listens there."""
    # Only here: most of those who import this module ask nothing of a socket, and it takes its time.
    import socket
    from http.client import HTTPConnection

    connection = HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(timeout)
    try:
        connection.sock.connect(str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def peer_uid(connection: socket.socket) -> int:
    """Whose the process at the other end of a Unix socket is, as the kernel knows."""
    import socket
    import struct

    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def message(text: str) -> str:
    """What a server says went wrong, in the JSON of its answer; empty if it does not say."""
    try:
        data = json.loads(text)
    except ValueError:
        return ""
    return str(data.get("message") or data.get("error") or "") if isinstance(data, dict) else ""


def answers(path: Path, target: str = "/", timeout: float = 5.0) -> bool:
    """Whether an HTTP server answers on the Unix socket, with whatever but a server error."""
    try:
        request(path, "GET", target, timeout=timeout)
    except Refused as refusal:
        return refusal.status < 500
    except (OSError, ValueError):
        return False
    return True
