"""The keeper of homes as a service: ``python -m hubfleet.homes.daemon <keeper.json>``.

It takes a name and its owner's ids, and nothing else: where homes are, what new ones hold, who may own one and how much
it may hold is in its own file. Where a limit depends on what somebody else than that file knows of a person, it is told
which of the file's limits it is. It answers its own account on a Unix socket; where the launcher is on another machine,
also whoever has the launcher's certificate, at a TCP port.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web

from hubfleet import __version__
from hubfleet.config.owner import Owner
from hubfleet.homes.client import keeper_of
from hubfleet.homes.keeper import Archive, BadName, Keeper, NoHome
from hubfleet.homes.making import HomeFailed
from hubfleet.homes.tls import server_context
from hubfleet.unixhttp import peer_uid

log = logging.getLogger("hubfleet.homes")

KEEPER: web.AppKey[Keeper] = web.AppKey("keeper", Keeper)
_JOBS: web.AppKey[dict[str, asyncio.Future[Archive]]] = web.AppKey("jobs", dict)
_ARCHIVING: web.AppKey[ThreadPoolExecutor] = web.AppKey("archiving", ThreadPoolExecutor)
_MOST_BYTES = 1024
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse whoever is another account of this machine, and tell what goes wrong in words."""
    assert request.transport is not None
    connection = request.transport.get_extra_info("socket")
    if connection.family == socket.AF_UNIX and (uid := peer_uid(connection)) != os.geteuid():
        log.warning("refused a request by user id %d", uid)
        return _told("only the launcher may ask", 403)
    try:
        return await handler(request)
    except (BadName, json.JSONDecodeError) as error:
        log.warning("refused: %s", error)
        return _told(str(error), 400)
    except NoHome as error:
        return _told(str(error), 404)
    except HomeFailed as error:
        log.warning("%s", error)
        return _told(str(error), 409)
    except web.HTTPException as error:
        return _told(error.reason, error.status)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _told("the storage of homes failed; its log has the details", 500)


def _told(words: str, status: int) -> web.Response:
    return web.json_response({"error": words}, status=status)


async def ensure(request: web.Request) -> web.Response:
    owner, group = _owner(await request.json())
    home = await asyncio.to_thread(request.app[KEEPER].ensure, request.match_info["name"], owner, group)
    return web.json_response(home.to_json())


def _owner(body: Any) -> tuple[Owner, str | None]:
    """And the group whose limit is the home's. Raises BadName for anything but two numbers and perhaps a name."""
    if not isinstance(body, dict) or set(body) - {"group"} != {"uid", "gid"}:
        raise BadName("expected uid and gid, perhaps group, and nothing else")
    for number in (body["uid"], body["gid"]):
        if isinstance(number, bool) or not isinstance(number, int):
            raise BadName(f"{number!r} is not an id")
    group = body.get("group")
    if group is not None and not isinstance(group, str):
        raise BadName(f"{group!r} is not the name of a group")
    return Owner(body["uid"], body["gid"]), group


async def show(request: web.Request) -> web.Response:
    home = await asyncio.to_thread(request.app[KEEPER].home, request.match_info["name"])
    return web.json_response(home.to_json())


async def report(request: web.Request) -> web.Response:
    homes = await asyncio.to_thread(request.app[KEEPER].report)
    return web.json_response({"homes": [home.to_json() for home in homes]})


async def archive(request: web.Request) -> web.Response:
    """Put a home away. Whoever asks for one that is being put away waits for the same; nobody's end ends it."""
    jobs, name = request.app[_JOBS], request.match_info["name"]
    if name not in jobs:
        keeper = request.app[KEEPER]
        job = asyncio.get_running_loop().run_in_executor(request.app[_ARCHIVING], keeper.archive, name)
        jobs[name] = job
        job.add_done_callback(lambda done: _ended(jobs, name, done))
    return web.json_response((await jobs[name]).to_json())


def _ended(jobs: dict[str, asyncio.Future[Archive]], name: str, job: asyncio.Future[Archive]) -> None:
    del jobs[name]
    if not job.cancelled() and job.exception() is None:
        log.info("%s was archived as %s, and moved to %s", name, job.result().tar, job.result().moved)


async def alive(request: web.Request) -> web.Response:
    return web.json_response({"version": __version__})


def application(keeper: Keeper) -> web.Application:
    """The HTTP application."""
    app = web.Application(middlewares=[guarded], client_max_size=_MOST_BYTES)
    app[KEEPER] = keeper
    app[_JOBS] = {}
    app[_ARCHIVING] = ThreadPoolExecutor(1)  # one after the other: each takes a disk for itself
    app.router.add_get("/", alive)
    app.router.add_get("/homes", report)
    app.router.add_get("/homes/{name}", show)
    app.router.add_put("/homes/{name}", ensure)
    app.router.add_post("/homes/{name}/archive", archive)
    return app


async def serve(settings: Mapping[str, Any]) -> None:
    """Run until told to end (SIGTERM). ``settings``: as `settings.settings`, with ``socket`` and ``line``."""
    keeper = keeper_of(settings)
    runner = web.AppRunner(application(keeper), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, _unix(Path(settings["socket"]))).start()
    if line := settings["line"]:
        context = server_context(line["certificate"], line["key"], line["launcher"])
        await web.TCPSite(runner, line["address"], line["port"], ssl_context=context).start()
    log.info("keeper of homes %s, for %s", __version__, keeper.place)
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await asyncio.to_thread(keeper.hold_all)
    await ending.wait()
    await runner.cleanup()


def _unix(path: Path) -> socket.socket:
    """For this account only, whatever the directory is like."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    path.chmod(0o600)
    return listening


def main() -> None:
    """Entry point of the program."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))


if __name__ == "__main__":
    main()
