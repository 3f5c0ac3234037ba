"""The launcher as a program: ``python -m hubfleet.launcher.daemon <launcher.json>``.

It listens on one Unix socket and answers only the account of its hub (and its own). Requests and answers are JSON; a
start streams its progress as one JSON object a line, the last one with the address or the error.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import pwd
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from hubfleet import __version__, openfiles
from hubfleet.config import Config
from hubfleet.engines import engine
from hubfleet.homes.making import HomeFailed
from hubfleet.launcher.base import PROJECT_LEFT_OUT, BadRequest, Request, StartFailed, Stopped, Unknown
from hubfleet.launcher.servers import Servers
from hubfleet.launcher.sources import owners_of, projects_of
from hubfleet.layout import SECRETS, Layout
from hubfleet.names import server_id
from hubfleet.unixhttp import peer_uid

log = logging.getLogger("hubfleet.launcher")

ARCHIVE_WAIT_S = 20.0
"""How long one answer waits for an archive."""

SERVERS: web.AppKey[Servers] = web.AppKey("servers", Servers)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def only_for(uids: frozenset[int]) -> Any:
    """Refuse every caller but processes of these user ids, as told by the kernel."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        assert request.transport is not None
        connection: socket.socket = request.transport.get_extra_info("socket")
        uid = peer_uid(connection)
        if uid not in uids:
            log.warning("refused a request by user id %d", uid)
            return web.json_response({"error": "only the hub may ask"}, status=403)
        request["uid"] = uid
        try:
            return await handler(request)
        except HomeFailed as error:
            return web.json_response({"error": str(error)}, status=409)
        except (BadRequest, json.JSONDecodeError) as error:
            return web.json_response({"error": str(error), "refused": True}, status=400)

    return check


async def health(request: web.Request) -> web.Response:
    return web.json_response({"version": __version__, "servers": len(request.app[SERVERS].records())})


async def list_servers(request: web.Request) -> web.Response:
    servers = request.app[SERVERS]
    return web.json_response(
        {"servers": [record.to_json() for record in servers.records()], "starting": servers.starting()}
    )


async def start(request: web.Request) -> web.StreamResponse:
    """Start a server. If the hub hangs up (or is restarted) in the middle, the server is stopped again once it is up.

    That hub has forgotten the start, so the server would run on without anybody who could reach it.
    """
    servers = request.app[SERVERS]
    wanted = servers.checked(Request.parse(await request.json()))
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    notes: list[str] = []

    def report(message: str) -> None:
        # Reports pass by faster than they can be read; what a server does without is told again beside it.
        if message.startswith(PROJECT_LEFT_OUT):
            notes.append(message)
        queue.put_nowait({"progress": message})

    async def run() -> None:
        try:
            record = await servers.start(wanted, report)
            idle_limit = servers.idle_limit(wanted)
            queue.put_nowait(
                {"url": record.url, "started": record.started, "stop_after_idle": idle_limit, "notes": notes}
            )
        except BadRequest as refusal:
            queue.put_nowait({"error": str(refusal), "refused": True})
        except StartFailed as failure:
            queue.put_nowait({"error": str(failure)})
        except Exception:
            log.exception("%s: start failed", wanted.id)
            queue.put_nowait({"error": "the launcher failed; its log has the details"})

    task = asyncio.create_task(run())
    request.app[_TASKS].add(task)
    task.add_done_callback(request.app[_TASKS].discard)
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    while True:
        item = await queue.get()
        try:
            await response.write(json.dumps(item).encode() + b"\n")
        except ConnectionError:
            await task
            log.warning("%s: the hub has hung up during the start; stopped again", wanted.id)
            await request.app[SERVERS].stop(wanted.id)
            return response
        if "progress" not in item:
            return response


async def status(request: web.Request) -> web.Response:
    found = await request.app[SERVERS].status(await _identifier(request))
    if isinstance(found, Stopped):
        return web.json_response({"state": "stopped", "code": found.code, "why": found.why})
    if isinstance(found, Unknown):
        return web.json_response({"state": "unknown", "why": found.why})
    return web.json_response({"state": "running"})


async def profiles(request: web.Request) -> web.Response:
    """The profiles a user may choose from, for the start page."""
    wanted = Request.parse(await request.json())
    return web.json_response({"profiles": request.app[SERVERS].profiles(wanted.user, wanted.belonging)})


async def homes(request: web.Request) -> web.Response:
    """All homes, for the machine's operator: no hub has to know them."""
    _operator(request)
    found = await request.app[SERVERS].homes()
    return web.json_response({"homes": None if found is None else [home.to_json() for home in found]})


async def home(request: web.Request) -> web.Response:
    """How much is in a user's home, and how much may be, for the user's page."""
    found = await request.app[SERVERS].home(Request.parse(await request.json()).user)
    return web.json_response({"used": found and found.used, "limit": found and found.limit})


async def archive(request: web.Request) -> web.Response:
    """Put a user's home away, for the machine's operator. Answers soon: not ``done`` means to ask again."""
    _operator(request)
    user = Request.parse(await request.json()).user
    try:
        made = await asyncio.wait_for(request.app[SERVERS].archive(user), ARCHIVE_WAIT_S)
    except asyncio.TimeoutError:
        return web.json_response({"done": False})
    return web.json_response({"done": True, **made.to_json()})


def _operator(request: web.Request) -> None:
    if request["uid"] != os.geteuid():
        raise web.HTTPForbidden(text=json.dumps({"error": "only the machine's operator may ask"}))


async def stop(request: web.Request) -> web.Response:
    await request.app[SERVERS].stop(await _identifier(request))
    return web.json_response({})


async def _identifier(request: web.Request) -> str:
    wanted = Request.parse(await request.json())
    return server_id(wanted.user, wanted.server)


_TASKS: web.AppKey[set[asyncio.Task[None]]] = web.AppKey("tasks", set)


def application(servers: Servers, uids: frozenset[int]) -> web.Application:
    """The HTTP application. ``uids``: the accounts that may call it."""
    app = web.Application(middlewares=[only_for(uids)])
    app[SERVERS] = servers
    app[_TASKS] = set()
    app.router.add_get("/v1/health", health)
    app.router.add_get("/v1/servers", list_servers)
    app.router.add_post("/v1/start", start)
    app.router.add_post("/v1/status", status)
    app.router.add_post("/v1/profiles", profiles)
    app.router.add_post("/v1/stop", stop)
    app.router.add_get("/v1/homes", homes)
    app.router.add_post("/v1/home", home)
    app.router.add_post("/v1/archive", archive)
    return app


@dataclasses.dataclass(frozen=True)
class Settings:
    """``launcher.json``: the whole configuration, what the engine needs, and who may ask.

    ``secrets``: what services are shown, of a file beside it that only root can read.
    """

    config: Config
    engine: dict[str, Any]
    layout: Layout
    hub_uid: int
    hub_gid: int
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, path: Path) -> Settings:
        data = json.loads(path.read_text())
        layout = Layout(data["hub"], Path(data["base"]), data["privileged"])
        account = pwd.getpwnam(data["hub_account"]) if data["hub_account"] else pwd.getpwuid(os.geteuid())
        beside = path.with_name(SECRETS)
        secrets = json.loads(beside.read_text()) if beside.exists() else {}
        return cls(Config.from_dump(data["config"]), data["engine"], layout, account.pw_uid, account.pw_gid, secrets)


async def serve(settings: Settings) -> None:
    """Run until told to end (SIGTERM). Users' servers go on without the launcher."""
    launch = engine(settings.config.engine).launch(settings.engine)
    directory = settings.layout.launcher_dir
    owners = owners_of(settings.config, settings.secrets, directory)
    projects = projects_of(settings.config, settings.secrets)
    servers = Servers(settings.config, launch, directory / "servers", owners, projects)
    await launch.open()
    running = await servers.adopt()
    log.info("launcher %s for hub %s, %d servers running", __version__, settings.layout.hub, running)
    path = settings.layout.launcher_socket
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    if settings.layout.privileged:
        os.chown(path, -1, settings.hub_gid)
    path.chmod(0o660)
    runner = web.AppRunner(
        application(servers, frozenset({settings.hub_uid, os.geteuid()})), access_log=None, shutdown_timeout=1
    )
    await runner.setup()
    await web.SockSite(runner, listening, backlog=openfiles.BACKLOG).start()
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await ending.wait()
    await runner.cleanup()
    await launch.close()
    await owners.close()
    if projects:
        await projects.close()


def main() -> None:
    """Entry point of the program."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    openfiles.raise_limit()
    asyncio.run(serve(Settings.read(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
