"""A proxy that was started again gets its routes back; one that was not is left alone."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from hubfleet.hub.configure import unix_url
from hubfleet.hub.proxy import WatchedProxy

ASKED_ONCE = ["GET", "GET", "POST"]  # by us, by JupyterHub for want of routes, and the hub's own route


class Listening:
    """Answers as the proxy's API does, on a socket that comes and goes with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[str] = []

    async def start(self) -> None:
        """Begin without any route, as the proxy does."""
        self.routes: dict[str, dict[str, object]] = {}
        app = web.Application()
        app.router.add_route("*", "/api/routes{path:.*}", self._answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.UnixSite(self.runner, str(self.path)).start()

    async def end(self) -> None:
        await self.runner.cleanup()
        self.path.unlink(missing_ok=True)

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.method)
        if request.method == "POST":
            self.routes[request.match_info["path"] or "/"] = await request.json()
            return web.Response(status=201)
        return web.json_response(self.routes)


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a socket can be: JupyterHub keeps addresses in lower case, and pytest's directory may have capitals."""
    made = Path("/tmp") / f"hubfleet-test-{secrets.token_hex(4)}"
    made.mkdir(mode=0o700)
    yield made
    shutil.rmtree(made)


async def test_it_is_asked_again_only_when_its_socket_is_another(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    listening = Listening(place / "socket")
    proxy = WatchedProxy(should_start=False, auth_token="token", api_url=unix_url(listening.path))
    hub = SimpleNamespace(routespec="/", host="http://hub")
    proxy.app, proxy.hub = SimpleNamespace(hub=hub), hub
    await listening.start()
    for _ in range(3):
        await proxy._look({}, {})
    assert listening.requests == ASKED_ONCE
    await listening.end()
    await proxy._look({}, {})
    assert "The proxy cannot be asked" in caplog.text
    await listening.start()
    listening.requests.clear()
    for _ in range(3):
        await proxy._look({}, {})
    assert listening.requests == ASKED_ONCE
    assert listening.routes["/"]["target"] == "http://hub"
    await listening.end()
