"""`hubfleet status`: what runs, for people and for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

import hubfleet
from hubfleet.cli.console import out, say
from hubfleet.cli.deployment import Deployment, open_deployment
from hubfleet.cli.talk import ask_launcher, people
from hubfleet.errors import NotRunningError
from hubfleet.logfiles import tail
from hubfleet.unixhttp import Refused

EXPECTED = ("launcher", "proxy", "hub")


def gather(deployment: Deployment) -> dict[str, Any]:
    """Everything `status` shows. ``state``: running, degraded (a part is down or does not answer) or stopped."""
    supervisor = deployment.supervisor()
    processes = {name: vars(status) for name, status in supervisor.processes.items()} if supervisor else {}
    found: dict[str, Any] = {
        "hub": deployment.config.hub,
        "state": "stopped",
        "url": deployment.url,
        "version": hubfleet.__version__,
        "generation": deployment.generations.current(),
        "supervision": deployment.supervision if supervisor else None,
        "processes": processes,
        "servers": [],
        "users": [],
        "problems": [],
    }
    if supervisor is None:
        return found
    questions: dict[str, tuple[str, Callable[[], Any]]] = {
        "launcher": ("servers", lambda: ask_launcher(deployment, "GET", "/v1/servers", timeout=5)["servers"]),
        "hub": ("users", lambda: people(deployment)),
    }
    for name in EXPECTED:
        try:
            if processes.get(name, {}).get("state") != "running":
                raise NotRunningError(f"{name} is down, its supervisor starts it again")
            if name in questions:
                key, ask = questions[name]
                found[key] = ask()
        except (NotRunningError, Refused) as error:
            last = [line for line in tail(deployment.layout.logs / f"{name}.log", 3) if line.strip()]
            found["problems"].append(f"{error}. It said last: {last[-1] if last else 'nothing'}")
    found["state"] = "degraded" if found["problems"] else "running"
    return found


def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and renew every two seconds.")] = False,
) -> None:
    """Show whether the hub runs, who is on it, and what is wrong. Example: hubfleet status --watch"""
    if not watch:
        found = gather(open_deployment(context.obj))
        if as_json:
            say(json.dumps(found, indent=1))
        else:
            out.print(_picture(found), soft_wrap=False)
        return
    with Live(console=out, auto_refresh=False, screen=out.is_terminal) as live:
        while True:
            live.update(_picture(gather(open_deployment(context.obj))), refresh=True)
            time.sleep(2)


def _picture(found: dict[str, Any]) -> RenderableType:
    colour = {"running": "green", "degraded": "yellow", "stopped": "red"}[found["state"]]
    parts: list[RenderableType] = [
        Text.assemble((found["hub"], "bold"), "  ", (found["state"], colour), f"  {found['url']}"),
        Text(f"hubfleet {found['version']}, generation {found['generation']}", style="dim"),
    ]
    parts += [Text(problem, style="yellow") for problem in found["problems"]]
    if found["state"] == "stopped":
        return Group(*parts, Text("Start it: hubfleet up"))
    table = Table("process", "state", "since", "restarts", box=None, pad_edge=False, header_style="dim")
    for name, entry in found["processes"].items():
        table.add_row(name, entry["state"], _ago(entry["since"]), str(entry["restarts"]))
    servers = Table("server of", "name", "profile", "running for", box=None, pad_edge=False, header_style="dim")
    for entry in found["servers"]:
        servers.add_row(entry["user"], entry["server"] or "default", entry["profile"] or "", _ago(entry["started"]))
    people_line = f"{len(found['users'])} people known, {len(found['servers'])} servers running"
    return Group(*parts, Text(), table, Text(), Text(people_line), *([servers] if found["servers"] else []))


def _ago(moment: float) -> str:
    seconds = max(0, int(time.time() - moment))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
