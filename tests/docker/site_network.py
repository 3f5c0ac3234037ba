"""What a closed site has: a proxy that is the only way out, and an index of packages with an authority of its own."""

from __future__ import annotations

import http.server
import re
import select
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from pairs import Pair, make_pair

LIMIT_S = 60
_LINK = re.compile(r'href="([^"]*)"')


class _Server:
    """Answers at a port of its own until `end`. ``context``: it is spoken to by TLS."""

    def __init__(self, handler: type[http.server.BaseHTTPRequestHandler], context: ssl.SSLContext | None) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if context is not None:
            # The handshake is for the thread of the one who comes.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Proxy(_Server):
    """Passes on to those it knows (by ``host:port``, to a port of this machine), and to nobody else.

    noted: whom it was asked for.
    """

    def __init__(self, known: Mapping[str, int]) -> None:
        self.noted: list[str] = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                proxy.noted.append(self.path)
                if self.path not in known:
                    self.send_error(403)
                    return
                with socket.create_connection(("127.0.0.1", known[self.path]), LIMIT_S) as there:
                    self.send_response(200)
                    self.end_headers()
                    _pass_on(self.connection, there)

            def do_GET(self) -> None:
                proxy.noted.append(urlsplit(self.path).netloc)
                self.send_error(403)

            def log_message(self, *words: object) -> None:
                """Nothing."""

        super().__init__(Handler, None)
        self.url = f"http://127.0.0.1:{self.port}"


def _pass_on(*both: socket.socket) -> None:
    while ready := select.select(both, [], [], LIMIT_S)[0]:
        for one in ready:
            data = one.recv(65536)
            if not data:
                return
            both[one is both[0]].sendall(data)


class Index(_Server):
    """An index of Python packages: what it is asked for it asks ``upstream``. ``asked``: paths."""

    def __init__(self, folder: Path, name: str, authority: Pair, upstream: str) -> None:
        self.asked: list[str] = []
        certificate, key = make_pair(name, by=authority).write(folder, authority)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        index, session = self, requests.Session()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                index.asked.append(self.path)
                self._answer(whole=True)

            def do_HEAD(self) -> None:
                self._answer(whole=False)

            def _answer(self, *, whole: bool) -> None:
                page = self.path.startswith("/simple/")
                url = upstream.rstrip("/") + self.path.removeprefix("/simple") if page else _there(self.path)
                headers = {"Accept": "application/vnd.pypi.simple.v1+html, text/html;q=0.1"} if page else {}
                headers |= {"Range": self.headers["Range"]} if "Range" in self.headers else {}
                headers["Accept-Encoding"] = "identity"
                found = session.request(self.command, url, headers=headers, timeout=LIMIT_S)
                body = _through_us(found.text, found.url).encode() if page else found.content
                self.send_response(found.status_code)
                kept = ("Content-Type", "Content-Range", "Accept-Ranges")
                _send(self, {name: found.headers[name] for name in kept if name in found.headers})
                length = len(body) if whole else int(found.headers.get("Content-Length", 0))
                _send(self, {"Content-Length": str(length)})
                self.end_headers()
                if whole:
                    self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                """Nothing."""

        super().__init__(Handler, context)


def _send(handler: http.server.BaseHTTPRequestHandler, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        handler.send_header(name, value)


def _through_us(page: str, url: str) -> str:
    """The page with links that lead through this index."""

    def link(found: re.Match[str]) -> str:
        parts = urlsplit(urljoin(url, found[1]))
        return f'href="/at/{parts.scheme}/{parts.netloc}{parts.path}#{parts.fragment}"'

    return _LINK.sub(link, page)


def _there(path: str) -> str:
    """Where a link of `_through_us` leads."""
    _, _, scheme, rest = path.split("/", 3)
    return f"{scheme}://{rest}"


def hosts(noted: Iterable[str]) -> set[str]:
    """Without ports."""
    return {one.rpartition(":")[0] or one for one in noted}
