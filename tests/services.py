"""Services of a site, as far as a hub asks them, on this machine: an accounting service and one that knows projects."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class Service:
    """What a REST service does: answers, slowly or wrongly if it is told so; ``asked``: the paths, in order.

    ``host``: the address of this machine that it listens at. ``tls``: with which it listens, if it is reached by HTTPS.
    """

    base, host = "", "127.0.0.1"
    tls: ssl.SSLContext | None = None

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.seen: list[str] = []
        """What those who asked said of themselves."""
        self.hold = threading.Event()
        self.hold.set()
        """While it is clear, nobody gets an answer."""
        self.instead: tuple[int, dict[str, str], bytes] | None = None
        """What everybody gets in place of an answer: status, headers, body."""
        self.url = ""
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
        raise NotImplementedError

    def start(self) -> None:
        """Be there, at the same address as before."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                authorization = self.headers.get("Authorization", "")
                service.asked.append(self.path)
                service.seen.append(authorization)
                service.hold.wait(60)
                status, headers, body = service.instead or service.answer(self.path, authorization)
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(body)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError):
                    return  # whoever asked is tired of waiting

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((self.host, self._port), Handler)
        self._server.daemon_threads = True
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._port = self._server.server_address[1]
        self.url = f"http{'s' if self.tls else ''}://{self.host}:{self._port}{self.base}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            self.hold.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class Tas(Service):
    """An accounting service that speaks as TAS does: an envelope of status, message and result, for a role account."""

    base = "/api/v1"

    def __init__(self, account: str = "hub-role", password: str = "canary-tas") -> None:
        super().__init__()
        self.account, self.password = account, password
        self.users: dict[str, dict[str, Any]] = {}

    def add(self, name: str, uid: Any, gid: Any = None, home: Any = None) -> None:
        """A user as the service has one. A group id is there only where it is given."""
        self.users[name] = {
            "id": 1000 + len(self.users),
            "username": name,
            "firstName": "Ada",
            "lastName": "Lovelace",
            "email": f"{name}@example.edu",
            "institution": "Example University",
            "uid": uid,
            **({} if gid is None else {"gid": gid}),
            "homeDirectory": home if home is not None else f"01234/{name}",
        }

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
        right = base64.b64encode(f"{self.account}:{self.password}".encode()).decode()
        if authorization != f"Basic {right}":
            challenge = {"WWW-Authenticate": 'Basic realm="TAS"', "Content-Type": "text/html"}
            return 401, challenge, b"<html><body><h1>Unauthorized</h1></body></html>"
        before, _, name = urlsplit(path).path.partition("/users/username/")
        if before != self.base:
            return 404, {"Content-Type": "text/html"}, b"<html><body><h1>Not Found</h1></body></html>"
        user = self.users.get(unquote(name))
        if user is None:
            return _json({"status": "error", "message": f"No user found for username {unquote(name)}", "result": None})
        return _json({"status": "success", "message": None, "result": user})


class Memberships(Service):
    """A service that knows projects: for a token, the list of somebody's."""

    base = "/api/members"

    def __init__(self, token: str = "canary-projects") -> None:
        super().__init__()
        self.token = token
        self.members: dict[str, list[dict[str, Any]]] = {}

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
        if authorization != f"Bearer {self.token}":
            return _json({"error": "invalid_token"}, 401)
        name = unquote(urlsplit(path).path.removeprefix(f"{self.base}/"))
        return _json({"projects": self.members[name]}) if name in self.members else _json({"error": "unknown"}, 404)


def _json(told: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json;charset=UTF-8"}, json.dumps(told).encode()


@contextmanager
def running(service: Service) -> Iterator[None]:
    service.start()
    try:
        yield
    finally:
        service.stop()
