"""One request over a Unix socket: answers, refusals, and silence within the time given."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest

from hubfleet.unixhttp import Refused, request


class Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"body": body, "token": self.headers["Authorization"], "path": self.path}
        self._say(200, json.dumps(answer))

    def do_GET(self) -> None:
        answers = {
            "/empty": (204, ""),
            "/message": (404, '{"message": "no such user"}'),
            "/error": (403, '{"error": "only the hub may ask"}'),
            "/page": (502, "<html>"),
        }
        self._say(*answers[self.path])

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def address_string(self) -> str:
        return "unix"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "s"
    with UnixStreamServer(str(path), Answers) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield path
        listening.shutdown()
        thread.join()


def test_body_and_token_arrive_and_the_answer_comes_back(server: Path) -> None:
    answer = request(server, "POST", "/x?y=1", {"a": [1]}, "secret")
    assert answer == {"body": {"a": [1]}, "token": "token secret", "path": "/x?y=1"}
    assert request(server, "GET", "/empty") is None


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        ("/message", 404, "no such user"),
        ("/error", 403, "only the hub may ask"),
        ("/page", 502, "Bad Gateway"),
    ],
)
def test_a_refusal_carries_status_and_reason(server: Path, target: str, status: int, text: str) -> None:
    with pytest.raises(Refused, match=text) as caught:
        request(server, "GET", target)
    assert caught.value.status == status


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        request(tmp_path / "none", "GET", "/")


def test_somebody_who_is_silent_or_speaks_something_else(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            request(tmp_path / "s", "GET", "/", timeout=0.2)
        assert time.monotonic() - began < 5
        listening.accept()[0].close()

        def babble() -> None:
            connection, _ = listening.accept()
            connection.recv(10_000)
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")
            connection.close()

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(OSError, match="no HTTP answer"):
            request(tmp_path / "s", "GET", "/", timeout=5)
        thread.join()
