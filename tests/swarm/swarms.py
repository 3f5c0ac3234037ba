"""Three machines that are a swarm, a hub's places on what they share, and a stand-in for the hub that knows tokens."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import secrets
import shutil
import socket
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web
from containers import OwnTable, execute, keeping
from images import PYTHON, user_image
from machines import Lab, Machine

from hubfleet.config import default_config
from hubfleet.config.effective import Effective, effective
from hubfleet.engines.swarm.launch import SwarmLaunch
from hubfleet.engines.swarm.specification import Settings
from hubfleet.homes import HOMES_MARKER
from hubfleet.launcher.base import Record, Request
from hubfleet.units import Bytes
from waiting import soon

HUB_GID = 64_999
SMALL = Bytes(512 * 1024 * 1024)
NETWORK = "fleet"
SUBNET, TASKS, LAUNCHER = "10.90.0.0/20", "10.90.8.0/21", "10.90.0.4"
DOOR, HUB_PORT = 7446, 8081
WORKER = "hubfleet.test.worker"
PLACE = "launcher"
"""A container that does nothing: what the launcher's container is in a network."""
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


class Fleet:
    """The machines: ``hub1`` manages, all three have servers. ``shared`` is a directory that all have."""

    def __init__(self, lab: Lab, shared: Path) -> None:
        self.shared = shared
        self.engine = lab.engine
        tag = user_image(lab.engine)
        self.image = str(lab.engine.inspect(tag)["Id"])
        shared.chmod(0o711)
        self.machines = [
            lab.start(name, docker_installed=True, shared=shared) for name in ("hub1", "worker1", "worker2")
        ]
        with ThreadPoolExecutor(len(self.machines)) as at_once:
            list(at_once.map(lambda machine: _furnish(machine, tag), self.machines))
        self.hub = self.machines[0]
        self.hub.docker("swarm", "init", "--advertise-addr", self.hub.address)
        token = self.hub.docker("swarm", "join-token", "--quiet", "worker")
        for machine in self.machines[1:]:
            machine.docker("swarm", "join", "--token", token, self.hub.address)
        for machine in self.machines:
            self.hub.docker("node", "update", "--label-add", f"{WORKER}=yes", machine.name)
        ranges = ["--subnet", SUBNET, "--ip-range", TASKS]
        self.hub.docker("network", "create", "--driver", "overlay", "--attachable", "--internal", *ranges, NETWORK)
        place = ["--network", NETWORK, "--ip", LAUNCHER, "--restart", "always", "--init"]
        self.hub.docker("run", "--detach", "--name", PLACE, *place, tag, "sleep", "infinity")

    @property
    def socket(self) -> str:
        """The manager's engine, as seen from here."""
        return f"{self._root}/run/docker.sock"

    @property
    def _root(self) -> str:
        return f"/proc/{self.engine.inspect(self.hub.container)['State']['Pid']}/root"

    def network(self) -> str:
        """The launcher's network as it is now, as the kernel shows it here."""
        inner = soon(lambda: self._place(), 60)
        return f"{self._root}/proc/{inner}/ns/net"

    def _place(self) -> str:
        found = self.hub.docker("inspect", "--format", "{{.State.Pid}}", PLACE, check=False)
        return found if found.isdigit() and found != "0" else ""

    @contextlib.contextmanager
    def dropped(self, port: int) -> Iterator[None]:
        """What comes to the launcher at this port gets no answer, as by the rules of a machine."""
        rule = f"INPUT -p tcp --dport {port} -j DROP"
        inside = f"nsenter --target {self._place()} --net"
        self.hub.run(f"{inside} iptables -A {rule}")
        try:
            yield
        finally:
            self.hub.run(f"{inside} iptables -D {rule}")

    def machine(self, name: str) -> Machine:
        return next(machine for machine in self.machines if machine.name == name)

    def node(self, machine: Machine) -> str:
        """What the manager thinks of a machine."""
        return self.hub.docker("node", "inspect", "--format", "{{.Status.State}}", machine.name, check=False)

    def await_all(self) -> None:
        """All machines are there and ready, as tests leave them."""
        soon(lambda: all(self.node(machine) == "ready" for machine in self.machines), 90)


def _furnish(machine: Machine, tag: str) -> None:
    machine.start_docker()
    machine.load(tag)


def socket_in(network: str) -> socket.socket:
    """A socket in another network: it stays there, whoever uses it."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(network, os.O_RDONLY)
    try:
        assert libc.setns(there, _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
        try:
            return socket.socket()
        finally:
            assert libc.setns(here, _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(here)
        os.close(there)


class House:
    """One hub on the fleet: its directories, its launch. ``said``: the progress of all starts."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.hub = f"t{uuid.uuid4().hex[:8]}"
        self.layout = OwnTable(self.hub, fleet.shared, True)
        self.network = fleet.network()
        self.tokens: dict[str, str] = {}
        self.said: list[str] = []
        self.records: dict[str, Record] = {}
        self._open: SwarmLaunch | None = None
        layout = self.layout
        for folder in (layout.homes, layout.launcher_dir / "servers"):
            folder.mkdir(parents=True)
        for folder in (layout.state, layout.homes):
            folder.chmod(0o711)
        (layout.homes / HOMES_MARKER).touch()
        settings = Settings.from_json(
            {
                "hub": self.hub,
                "base": str(layout.base),
                "privileged": True,
                "image": fleet.image,
                "python": PYTHON,
                "network": NETWORK,
                "door": {"address": LAUNCHER, "port": DOOR},
                "probe": None,
                "server_port": 8888,
                "homes": {"kind": "mounted", "path": str(layout.homes), "server": "", "options": ""},
                "placement": [f"node.labels.{WORKER}==yes"],
                "keeper": keeping(layout.homes),
                "hub_account": "",
                "hub_gid": HUB_GID,
                "variables": {},
                "engine_socket": fleet.socket,
                "room_wait": 2.0,
            }
        )
        self.settings = replace(settings, layout=self.layout)

    async def open(self, **changed: Any) -> SwarmLaunch:
        """A launch with these settings, some changed; the one before it is closed, as a launcher that was replaced."""
        await self.close()
        self._open = SwarmLaunch(replace(self.settings, **changed), self.made)
        await self._open.open()
        return self._open

    async def close(self) -> None:
        if self._open is not None:
            await self._open.close()
            self._open = None

    def made(self) -> socket.socket:
        return socket_in(self.network)

    def wanted(self, **changed: Any) -> Effective:
        """The options of a server: the defaults, some changed."""
        return replace(effective(default_config(), "ada"), **{"memory_limit": SMALL, **changed})

    def request(self, user: str, server: str = "") -> Request:
        """A hub's request, with a token of its own."""
        token = f"canary-{secrets.token_hex(16)}"
        self.tokens[token] = user
        prefix = f"/user/{quote(user)}/{f'{server}/' if server else ''}"
        environment = {
            "JUPYTERHUB_API_TOKEN": token,
            "JUPYTERHUB_API_URL": f"http://{LAUNCHER}:{HUB_PORT}/hub/api",
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{user}",
            "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{prefix}oauth_callback",
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps([f"access:servers!user={user}"]),
            "JUPYTERHUB_SERVICE_PREFIX": prefix,
            "JUPYTERHUB_USER": user,
        }
        return Request(user, server, None, environment)

    async def start(self, launch: SwarmLaunch, user: str, server: str = "", **changed: Any) -> Guest:
        """Start a server; raises StartFailed as the launch does."""
        request = self.request(user, server)
        record = await launch.start(request, self.wanted(**changed), self.said.append, self._spawned)
        self.records[record.id] = record
        return Guest(self, record, request.environment["JUPYTERHUB_API_TOKEN"])

    def _spawned(self, record: Record) -> None:
        self.records[record.id] = record

    def services(self) -> list[str]:
        """The ids of this hub's services."""
        return self._listed("service")

    def secrets(self) -> list[str]:
        return self._listed("secret")

    def _listed(self, kind: str) -> list[str]:
        words = [kind, "ls", "--quiet", "--filter", f"label=hubfleet.hub={self.hub}"]
        return self.fleet.hub.docker(*words).split()

    def containers(self) -> list[str]:
        """Machine and id of this hub's containers, running or not."""
        words = ["ps", "--all", "--quiet", "--filter", f"label=hubfleet.hub={self.hub}"]
        return [f"{one.name} {line}" for one in self.fleet.machines for line in one.docker(*words).split()]

    def left(self) -> list[str]:
        """What is there of servers, but for homes, logs and users' lines of identity."""
        return [*self.services(), *self.secrets(), *self.containers()]

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
        listening = self.made()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LAUNCHER, HUB_PORT))
        await web.SockSite(runner, listening).start()
        try:
            yield
        finally:
            await runner.cleanup()

    @contextlib.contextmanager
    def drained(self, *machines: Machine) -> Iterator[None]:
        """Machines that this hub starts nobody on."""
        label = f"hubfleet.{self.hub}.drained"
        names = [machine.name for machine in machines]
        for name in names:
            self.fleet.hub.docker("node", "update", "--label-add", f"{label}=yes", name)
        try:
            yield
        finally:
            for name in names:
                self.fleet.hub.docker("node", "update", "--label-rm", label, name)

    def remove(self) -> None:
        for kind in ("service", "secret", "config"):
            if found := self._listed(kind):
                self.fleet.hub.docker(kind, "rm", *found, check=False)
        soon(lambda: not self.containers(), 60)
        shutil.rmtree(self.layout.state, ignore_errors=True)


@dataclass
class Guest:
    """A user's running server, by way of its address and as the swarm knows it."""

    house: House
    record: Record
    token: str

    @property
    def home(self) -> Path:
        return self.house.layout.homes / self.record.user

    @property
    def uid(self) -> int:
        return self.home.stat().st_uid

    def task(self) -> dict[str, Any]:
        """All that the manager knows of it."""
        return dict(json.loads(self.house.fleet.hub.docker("inspect", self.record.handle["task"]))[0])

    @property
    def machine(self) -> Machine:
        """Where it is."""
        name = self.house.fleet.hub.docker(
            "node", "inspect", "--format", "{{.Description.Hostname}}", self.task()["NodeID"]
        )
        return self.house.fleet.machine(name)

    @property
    def container(self) -> str:
        return str(self.task()["Status"]["ContainerStatus"]["ContainerID"])

    def described(self) -> dict[str, Any]:
        """All that its machine's engine knows of its container."""
        return dict(json.loads(self.machine.docker("inspect", self.container))[0])

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        headers = {"Authorization": f"token {self.token}"}
        connector = aiohttp.TCPConnector(socket_factory=lambda info: self.house.made())
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            yield session

    def url(self, path: str) -> str:
        name = f"{self.record.server}/" if self.record.server else ""
        return f"{self.record.url}/user/{quote(self.record.user)}/{name}{path}"

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
        words = ["exec", "--user", f"{self.uid}:{self.uid}", self.container, "sh", "-c", command]
        return self.machine.docker(*words, check=False)
