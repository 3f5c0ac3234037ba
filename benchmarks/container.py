"""Users' servers in containers: ours and stock JupyterHub's DockerSpawner, one person and a class, and where ours goes.

    .venv/bin/python benchmarks/container.py --json

Both use the same engine (the tests' own: root, docker.io and mmdebstrap needed), image, memory limit and client. Ours
is the real hub, proxy and launcher, as processes of this machine. Prints, among others, `ratio_single` and `ratio_wall`
by number of people: how many times less ours takes. `failed`: people ours failed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from hubfleet.layout import Layout
from hubfleet.loadtest import Scenario
from hubfleet.supervisor.spec import SupervisorStatus
from hubfleet.unixhttp import Refused, request
from installed import environment, require, versions
from measure import LIMIT_S, SPARE, STEP_LIMIT_S, machine, median, p50, play, ratio, rounds, row, table
from peers import OURS, PATIENT, Peer, our_hub, our_target, published

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT / "tests" / name) for name in ("docker", ".")]

import dockerd  # noqa: E402
import images  # noqa: E402

NEEDED = {"dockerd": "docker.io", "mmdebstrap": "mmdebstrap"}
PINS = ("jupyterhub==6.1.1", "dockerspawner==14.0.0")
STOCK = "DockerSpawner"
NOTE = "DockerSpawner: JupyterHub and its spawner as published; same engine, image, memory limit and client as ours."
MEMORY_LIMIT = 1024**3
EACH = 180 * 1024**2
"""What a server takes at most while it starts, for the decision whether N of them fit."""
SINGLES, PARTS = 5, 5
LAUNCHER_LIMIT_S = 60.0

SETTINGS = """
c.JupyterHub.hub_ip = c.JupyterHub.hub_connect_ip = "{gateway}"
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.client_kwargs = {{"base_url": "unix://{socket}"}}
c.DockerSpawner.image = {image!r}
c.DockerSpawner.prefix = {network!r}
c.DockerSpawner.cmd = [{python!r}, "--allow-root"]
c.DockerSpawner.network_name = {network!r}
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
c.DockerSpawner.mem_limit = {limit}
c.DockerSpawner.volumes = {{"{folder}/homes/{{username}}": "/home/user"}}
c.DockerSpawner.notebook_dir = "/home/user"
"""


def main() -> None:
    """Options, hubs, rounds, output."""
    options = _options()
    require(NEEDED)
    document = measure(options)
    print(json.dumps(document, indent=1) if options.json else table(document))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--users", type=int, nargs="+", metavar="N", help="(default: 20, and 50 where they fit)")
    parser.add_argument("--rounds", type=int, default=1, metavar="R", help="of each class (default: 1)")
    parser.add_argument("--ours", action="store_true", help="ours alone")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="one round of each: does it work at all?")
    options = parser.parse_args()
    room = (psutil.virtual_memory().available - SPARE) // EACH
    options.users = options.users or [count for count in (20, 50) if count <= room] or [max(1, room)]
    if max(options.users) > room:
        sys.exit(f"{room} servers fit into this machine's free memory, not {max(options.users)}")
    return options


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything about starts of containers."""
    about = {"began": time.strftime("%Y-%m-%d %H:%M:%S"), "machine": machine(), "pid": os.getpid()}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(dockerd.shared())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"hfb-{os.getpid()}-", dir="/var/lib")))
        folder.chmod(0o755)
        image = images.user_image(engine)
        name = f"hubfleet-bench-{os.getpid()}"
        gateway = stack.enter_context(_network(engine, name))
        layout, ours = stack.enter_context(_ours(folder, engine, image, name))
        peers = [ours]
        known = {"docker": engine.docker("version", "--format", "{{.Server.Version}}")}
        if not options.ours:
            programs = environment(PINS)
            known |= versions(programs, [pin.partition("==")[0] for pin in PINS])
            peers.append(stack.enter_context(_stock(folder / "stock", programs, layout, engine, image, name, gateway)))
        count = 1 if options.quick else options.rounds
        limits: dict[str, Any] = {"step_limit_s": STEP_LIMIT_S, "limit_s": LIMIT_S, "lab": False, "kernel": False}
        for peer in peers:
            play(peer, Scenario(1, idle_s=0, **limits))  # files come into the machine's cache
        singles = rounds(peers, Scenario(1, idle_s=0, **limits), 1 if options.quick else SINGLES, options.quick)
        classes = {
            users: rounds(peers, Scenario(users, idle_s=0, **limits), count, options.quick) for users in options.users
        }
        parts = [_parts(layout, engine, f"part{number}") for number in range(1 if options.quick else PARTS)]
    names = [peer.name for peer in peers]
    return {**about, "versions": known, "stock": names[1:], "note": NOTE, **summary(names, singles, classes, parts)}


def summary(
    names: list[str],
    singles: list[dict[str, Any]],
    classes: dict[int, list[dict[str, Any]]],
    parts: list[dict[str, float]],
) -> dict[str, Any]:
    """Rows with medians, ratios, and the parts of a start of ours."""

    def each(made: list[dict[str, Any]], figure: Any) -> list[Any]:
        return [median(figure(one) for one in made if one["hub"] == name) for name in names]

    def share(which: str) -> Any:
        return lambda one: one["ready_s"][which] if one["ready_s"] else None

    single = each(singles, p50("ready_s"))
    rows = [row("one person: click to ready", "s", single)]
    rows.append(row("  the slowest of these", "s", [max(_known(singles, name), default=None) for name in names]))
    walls, failed = {}, 0
    for users, made in classes.items():
        walls[users] = ratio(each(made, lambda one: one["wall_s"]))
        lost = [sum(one["failed"] for one in made if one["hub"] == name) for name in names]
        failed += lost[0]
        rows.append(row(f"{users} people at once: all ready", "s", each(made, lambda one: one["wall_s"])))
        rows += [row(f"  {text}", "s", each(made, share(key))) for key, text in (("p50", "p50"), ("p95", "p95"))]
        rows.append({**row("  failed, all rounds", "", lost), "ratio": None})
    spans = {text: statistics.median(one[text] for one in parts) for text in parts[0]} if parts else {}
    for text, value in spans.items():
        rows.append({**row(f"ours, one start: {text}", "ms", [value, *[None] * (len(names) - 1)]), "ratio": None})
    return {
        "ratio_single": ratio(single),
        "ratio_wall": walls,
        "failed": failed,
        "parts": spans,
        "rows": rows,
        "rounds": [*singles, *(one for made in classes.values() for one in made)],
    }


def _known(singles: list[dict[str, Any]], name: str) -> list[float]:
    return [one["wall_s"] for one in singles if one["hub"] == name and one["wall_s"] is not None]


@contextlib.contextmanager
def _network(engine: dockerd.Dockerd, name: str) -> Iterator[str]:
    """A network for all servers; gives the address of this machine in it."""
    engine.docker("network", "create", name)
    try:
        yield engine.inspect(name)["IPAM"]["Config"][0]["Gateway"]
    finally:
        for left in engine.docker("ps", "--all", "--quiet", "--filter", f"network={name}").split():
            engine.docker("rm", "--force", "--volumes", left, check=False)
        engine.docker("network", "rm", name, check=False)


# -- ours -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _ours(folder: Path, engine: dockerd.Dockerd, image: str, network: str) -> Iterator[tuple[Layout, Peer]]:
    """A hub as `hubfleet up` makes it on one machine, whose launcher then gets the settings of engine docker."""
    with our_hub(folder) as (layout, peer):
        path = layout.launcher_dir / "launcher.json"
        before = path.read_text()
        settings = json.loads(before)
        settings["config"]["engine"] = "docker"
        settings["config"]["servers"]["memory"]["limit"] = MEMORY_LIMIT
        common = ("hub", "base", "privileged", "keeper", "hub_account", "variables")
        settings["engine"] = {
            **{key: settings["engine"][key] for key in common},
            "image": image,
            "python": images.PYTHON,
            "network": network,
            "engine_socket": str(engine.socket),
        }
        path.write_text(json.dumps(settings))
        try:
            _again(layout)
            yield layout, Peer(OURS, our_target(layout, int(peer.target.url.rpartition(":")[2])))
        finally:
            path.write_text(before)  # `hubfleet down` reads it


def _again(layout: Layout) -> None:
    """Have the supervisor start the launcher anew."""
    before = layout.launcher_socket.stat().st_ctime_ns  # the number of a file that is gone is used again
    status = SupervisorStatus.read(layout.supervisor_dir)
    assert status is not None
    pid = status.processes["launcher"].pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + LAUNCHER_LIMIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, Refused):
            if layout.launcher_socket.stat().st_ctime_ns != before:
                request(layout.launcher_socket, "GET", "/v1/health")
                return
        time.sleep(0.1)
    raise SystemExit(f"the launcher did not come up:\n{(layout.logs / 'launcher.log').read_text()[-3000:]}")


def _parts(layout: Layout, engine: dockerd.Dockerd, user: str) -> dict[str, float]:
    """Where the time of one start goes: seconds by what the launcher does meanwhile, asked without the hub."""
    marks = [("asked", time.time())]
    body = {"user": user, "environment": _variables(layout, user)}
    connection = http.client.HTTPConnection("launcher")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(layout.launcher_socket))
    try:
        connection.request("POST", "/v1/start", json.dumps(body), {"Content-Type": "application/json"})
        for line in connection.getresponse():
            said = json.loads(line)
            if "error" in said:
                raise SystemExit(f"a start failed: {said['error']}")
            marks.append((said.get("progress", "ready"), time.time()))
        at = dict(marks)
        [container] = engine.docker("ps", "--quiet", "--filter", f"name=hubfleet-{layout.hub}-user-").split()
        began = engine_time(engine.inspect(container)["State"]["StartedAt"])
    finally:
        connection.close()
        request(layout.launcher_socket, "POST", "/v1/stop", {"user": user}, timeout=60)
        shutil.rmtree(layout.homes / user, ignore_errors=True)
    return {
        "prepare": at["Making the container"] - at["asked"],
        "create": at["Starting the server"] - at["Making the container"],
        "engine's start": began - at["Starting the server"],
        "program until ready": at["ready"] - began,
    }


def engine_time(stamp: str) -> float:
    """Seconds since 1970, from the engine's 2026-01-31T10:20:30.123456789Z."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")


def _variables(layout: Layout, user: str) -> dict[str, str]:
    """What a hub would give to a server."""
    prefix = f"/user/{user}/"
    return {
        "JUPYTERHUB_API_TOKEN": secrets.token_hex(16),
        "JUPYTERHUB_API_URL": f"http+unix://{quote(str(layout.hub_socket), safe='')}/hub/api",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{user}",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{prefix}oauth_callback",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps([f"access:servers!user={user}"]),
        "JUPYTERHUB_SERVICE_PREFIX": prefix,
        "JUPYTERHUB_USER": user,
    }


# -- stock ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _stock(
    folder: Path, programs: Path, layout: Layout, engine: dockerd.Dockerd, image: str, network: str, gateway: str
) -> Iterator[Peer]:
    """JupyterHub and DockerSpawner as published, with our hub's proxy and the patience that a class needs."""
    settings = SETTINGS.format(
        gateway=gateway,
        socket=engine.socket,
        image=image,
        network=network,
        python=f"{images.PYTHON}/bin/jupyterhub-singleuser",
        limit=MEMORY_LIMIT,
        folder=folder,
    )
    with published(STOCK, folder, programs / "jupyterhub", layout, settings + PATIENT) as peer:
        yield peer


if __name__ == "__main__":
    main()
