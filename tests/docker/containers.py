"""A hub's places on this machine, the real launch of servers, and a stand-in for the hub that knows tokens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
import dockerd
from aiohttp import web
from images import PYTHON

from hubfleet.config import default_config
from hubfleet.config.effective import Effective, effective
from hubfleet.config.owner import MINIMUM
from hubfleet.engines.docker.launch import DockerLaunch
from hubfleet.engines.docker.specification import Settings
from hubfleet.homes import HOMES_MARKER
from hubfleet.homes.settings import Limits
from hubfleet.homes.settings import settings as homes_kept
from hubfleet.launcher.base import Record, Request
from hubfleet.layout import Layout
from hubfleet.units import Bytes

HUB_GID = 64_999
SMALL = Bytes(512 * 1024 * 1024)


class OwnTable(Layout):
    """A layout with a table of user ids of its own: the machine's would fill up with a test's people."""

    @property
    def uids(self) -> Path:
        return self.launcher_dir / "uids.json"


def keeping(place: Path, skeleton: Path | None = None) -> dict[str, Any]:
    """The homes there, kept by whoever asks. `test_homes` has the service that a hub has for it."""
    return homes_kept(place, skeleton, MINIMUM, Limits())


class House:
    """One hub: its directories, its network, its launch. ``said``: the progress of all starts."""

    def __init__(self, engine: dockerd.Dockerd, image: str, network: str | None = None) -> None:
        self.engine = engine
        self.hub = f"t{uuid.uuid4().hex[:8]}"
        self.layout = OwnTable(self.hub, Path(tempfile.mkdtemp(prefix="hf-", dir="/tmp")), True)
        self.tokens: dict[str, str] = {}
        self.said: list[str] = []
        self.records: dict[str, Record] = {}
        layout = self.layout
        for folder in (layout.hub_socket.parent, layout.servers_run, layout.homes, layout.launcher_dir / "servers"):
            folder.mkdir(parents=True)
        for folder in (layout.base, layout.state, layout.run, layout.servers_run, layout.homes):
            folder.chmod(0o711)
        layout.launcher_dir.chmod(0o700)
        (layout.homes / HOMES_MARKER).touch()
        if network is None:
            engine.docker("network", "create", self.hub)
        settings = Settings.from_json(
            {
                "hub": self.hub,
                "base": str(layout.base),
                "privileged": True,
                "image": image,
                "python": PYTHON,
                "network": network or self.hub,
                "keeper": keeping(layout.homes),
                "hub_account": "",
                "hub_uid": HUB_GID,
                "hub_gid": HUB_GID,
                "variables": {},
                "engine_socket": str(engine.socket),
            }
        )
        self.settings = replace(settings, layout=self.layout)

    def launch(self, **changed: Any) -> DockerLaunch:
        """A launch with these settings, some changed."""
        return DockerLaunch(replace(self.settings, **changed))

    def wanted(self, **changed: Any) -> Effective:
        """The options of a server: the defaults, some changed."""
        return replace(effective(default_config(), "ada"), **{"memory_limit": SMALL, **changed})

    def request(self, user: str, server: str = "") -> Request:
        """A hub's request, with a token of its own."""
        token = f"canary-{secrets.token_hex(16)}"
        self.tokens[token] = user
        prefix = f"/user/{quote(user)}/{f'{server}/' if server else ''}"
        hub = f"http+unix://{quote(str(self.layout.hub_socket), safe='')}"
        environment = {
            "JUPYTERHUB_API_TOKEN": token,
            "JUPYTERHUB_API_URL": f"{hub}/hub/api",
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{user}",
            "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{prefix}oauth_callback",
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps([f"access:servers!user={user}"]),
            "JUPYTERHUB_SERVICE_PREFIX": prefix,
            "JUPYTERHUB_USER": user,
        }
        return Request(user, server, None, environment)

    async def start(self, launch: DockerLaunch, user: str, server: str = "", **changed: Any) -> Guest:
        """Start a server; raises StartFailed as the launch does."""
        request = self.request(user, server)
        record = await launch.start(request, self.wanted(**changed), self.said.append, self._spawned)
        return Guest(self, record, request.environment["JUPYTERHUB_API_TOKEN"])

    def _spawned(self, record: Record) -> None:
        self.records[record.id] = record

    def containers(self) -> list[str]:
        """The names of this hub's containers, running or not."""
        found = self.engine.docker(
            "ps", "--all", "--filter", f"label=hubfleet.hub={self.hub}", "--format", "{{.Names}}"
        )
        return found.split()

    def left(self) -> list[str]:
        """What is there of servers, but for homes and logs."""
        folders = (self.layout.servers_run, self.layout.launcher_dir / "identities")
        return [*self.containers(), *(str(path) for folder in folders for path in folder.glob("*"))]

    def log(self, server: str) -> str:
        return (self.layout.logs / "servers" / f"{server}.log").read_text()

    @contextlib.asynccontextmanager
    async def hub_answers(self) -> AsyncIterator[None]:
        """The stand-in for the hub: says whose a token is."""

        async def who(request: web.Request) -> web.Response:
            name = self.tokens.get(request.headers.get("Authorization", "").rpartition(" ")[2])
            if name is None:
                return web.json_response({}, status=403)
            scopes = [f"access:servers!user={name}"]
            return web.json_response({"name": name, "kind": "user", "admin": False, "groups": [], "scopes": scopes})

        app = web.Application()
        app.router.add_get("/hub/api/user", who)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.UnixSite(runner, str(self.layout.hub_socket)).start()
        self.layout.hub_socket.chmod(0o666)
        try:
            yield
        finally:
            await runner.cleanup()

    def remove(self) -> None:
        for name in self.containers():
            self.engine.docker("rm", "--force", "--volumes", name, check=False)
        self.engine.docker("network", "rm", self.hub, check=False)
        shutil.rmtree(self.layout.base, ignore_errors=True)


@dataclass
class Guest:
    """A user's running server, by way of its socket and as the engine knows it."""

    house: House
    record: Record
    token: str

    @property
    def socket(self) -> str:
        return unquote(self.record.url.partition("://")[2])

    @property
    def container(self) -> str:
        return str(self.record.handle["container"])

    @property
    def home(self) -> Path:
        return self.house.layout.homes / self.record.user

    @property
    def uid(self) -> int:
        return self.home.stat().st_uid

    def described(self) -> dict[str, Any]:
        return self.house.engine.inspect(self.container)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        headers = {"Authorization": f"token {self.token}"}
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(self.socket), headers=headers) as session:
            yield session

    def url(self, path: str) -> str:
        name = f"{self.record.server}/" if self.record.server else ""
        return f"http://server/user/{quote(self.record.user)}/{name}{path}"

    async def status(self, token: str | None = None) -> int:
        """What it answers to a request for its status, with another token than its own if one is given."""
        async with self.session() as session:
            headers = {} if token is None else {"Authorization": f"token {token}"}
            async with session.get(self.url("api/status"), headers=headers, allow_redirects=False) as answer:
                return answer.status

    async def run(self, code: str, limit: float = 60.0) -> str:
        """What code prints in a fresh kernel of the user's."""
        async with self.session() as session:
            async with session.post(self.url("api/kernels"), json={}) as answer:
                kernel = (await answer.json())["id"]
            try:
                async with session.ws_connect(self.url(f"api/kernels/{kernel}/channels")) as channels:
                    return await asyncio.wait_for(execute(channels, code), limit)
            finally:
                async with session.delete(self.url(f"api/kernels/{kernel}")):
                    pass

    def shell(self, command: str) -> str:
        """What a command says that is run as the user in the container: output and errors."""
        engine = ["docker", "--host", f"unix://{self.house.engine.socket}"]
        enter = ["exec", "--user", f"{self.uid}:{self.uid}", self.container, "sh", "-c", command]
        done = subprocess.run([*engine, *enter], capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr


async def execute(channels: aiohttp.ClientWebSocketResponse, code: str) -> str:
    """What code prints in the kernel at the other end."""
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": uuid.uuid4().hex, "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    common = {"parent_header": {}, "metadata": {}, "channel": "shell", "buffers": []}
    await channels.send_json({"header": {**header, "username": "", "date": ""}, "content": content, **common})
    said = ""
    async for message in channels:
        told = json.loads(message.data)
        if told["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        kind, content = told["msg_type"], told["content"]
        if kind == "stream":
            said += content["text"]
        elif kind == "error":
            said += f"{content['ename']}: {content['evalue']}"
        elif kind == "status" and content["execution_state"] == "idle":
            break
    return said


async def until(look: Callable[[], Any], limit: float = 20.0) -> Any:
    """As `waiting.soon`, and lets this process's own tasks go on meanwhile."""
    end = asyncio.get_running_loop().time() + limit
    while not (found := look()):
        assert asyncio.get_running_loop().time() < end, "not in time"
        await asyncio.sleep(0.02)
    return found
