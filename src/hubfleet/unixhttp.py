"""One HTTP request over a Unix socket: how commands speak to hub, launcher and proxy. Standard library only."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any


class Refused(OSError):
    """The answer was an error. ``status`` is the HTTP status; the text is the server's own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def request(
    path: Path, method: str, target: str, body: Any = None, token: str | None = None, timeout: float = 30.0
) -> Any:
    """The JSON of the answer (None for an empty one).

    Raises OSError when nothing answers on the socket within ``timeout`` seconds, Refused for a status of 400 or more.
    """
    connection = http.client.HTTPConnection("localhost", timeout=timeout)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(timeout)
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"token {token}"
    try:
        connection.sock.connect(str(path))
        connection.request(method, target, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    except http.client.HTTPException as error:
        raise OSError(f"{path}: no HTTP answer ({error})") from error
    finally:
        connection.close()
    if answer.status >= 400:
        raise Refused(answer.status, _message(text) or answer.reason)
    return json.loads(text) if text.strip() else None


def _message(text: str) -> str:
    try:
        data = json.loads(text)
    except ValueError:
        return ""
    return str(data.get("message") or data.get("error") or "") if isinstance(data, dict) else ""
