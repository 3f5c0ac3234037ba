"""`hubfleet status`: what runs, for people and for programs."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime, timezone
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

import hubfleet
from hubfleet.cli import projectcommands
from hubfleet.cli.begin import open_deployment
from hubfleet.cli.console import as_typed, counted, draw, out, say_json, table
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.moved import deployed_last, still_runs
from hubfleet.cli.parts import UNREACHABLE, Part, ago, parts_table
from hubfleet.cli.projectdeployment import opened
from hubfleet.cli.reading import Options
from hubfleet.cli.talk import ask_launcher, hear, people
from hubfleet.errors import NotRunningError, UnreachableError
from hubfleet.layout import MIN_FREE_BYTES, ROOT_BASE
from hubfleet.names import system_name
from hubfleet.units import rounded
from hubfleet.unixhttp import Refused

WATCH_EVERY_S = 2
NEARLY_FULL = 0.9
"""Of its limit: so much in a home is warned of."""
SHOWN_HOMES = 10


def gather(deployment: Deployment) -> dict[str, Any]:
    """Everything `status` shows. ``state``: running, degraded (a part is down or does not answer) or stopped."""
    statuses, current = deployment.parts.statuses(), deployment.generations.current()
    processes = {name: _entry(deployment, name, part) for name, part in (statuses or {}).items()}
    found: dict[str, Any] = {
        "hub": deployment.config.hub,
        "state": "stopped",
        "url": deployment.url,
        "version": hubfleet.__version__,
        "generation": current,
        "rolled_back_to": deployment.generations.again(current) or None if current else None,
        "supervision": deployment.supervision if statuses else None,
        "machine": {"name": deployment.machine.name, "address": deployment.machine.address},
        "certificate": None,
        "processes": processes,
        "servers": [],
        "users": [],
        "homes": [],
        "problems": [],
        "warnings": [],
    }
    if statuses is None:
        if (runs := still_runs(deployment)) is not None:
            found["problems"].append(runs)
        if not deployment.layout.privileged and (ROOT_BASE / deployment.config.hub).is_dir():
            found["problems"].append("root has a hub of this name on this machine; to see it: sudo hubfleet status")
        found["servers"] = deployed_last(deployment).parts.servers()
        if found["servers"] and not found["problems"]:
            left = counted(len(found["servers"]), "server")
            found["problems"].append(f"{left} still running: `hubfleet up` takes them back, `hubfleet down` ends them")
        return found
    questions = {
        "launcher": lambda: ask_launcher(deployment, "/v1/servers")["servers"],
        "hub": lambda: people(deployment),
    }
    answers, found["problems"] = hear(deployment, questions)
    found.update(servers=answers.get("launcher", []), users=answers.get("hub", []))
    found["problems"] += full_disks(deployment)
    look_at_homes(deployment, found)
    if not any(part.state == UNREACHABLE for part in statuses.values()):  # or there is nobody to show one
        look_at_certificate(deployment, found)
    found["state"] = "degraded" if found["problems"] else "running"
    return found


def _entry(deployment: Deployment, name: str, part: Part) -> dict[str, Any]:
    told = {key: value for key, value in vars(part).items() if key != "why"}
    return {**told, "machine": deployment.machine_of(name).name}


def full_disks(deployment: Deployment) -> list[str]:
    """A line for each directory that has no room for what the hub notes down, people save, or a start takes."""
    lines = []
    starting = deployment.parts.starts_take_room_at()
    places = [(deployment.machine, str(path)) for path in (deployment.layout.hub_dir, starting) if path]
    places += [(deployment.homes_machine, str(deployment.homes))] if deployment.homes else []
    for machine, path in places:
        try:
            free = machine.store.room(path)
        except UnreachableError:
            continue  # which is told of its part
        if free is not None and free < MIN_FREE_BYTES:
            lines.append(f"{path}: the disk is full ({free} bytes free). Running servers go on. Try: free some space")
    return lines


def look_at_homes(deployment: Deployment, found: dict[str, Any]) -> None:
    """Add what homes hold and may hold, where they have limits; those that are nearly full are warned of."""
    if not deployment.config.all_quotas():
        return
    try:
        homes = ask_launcher(deployment, "/v1/homes")["homes"] or []
    except (NotRunningError, Refused) as error:
        if not found["problems"]:  # or else they tell why
            found["warnings"].append(f"how much is in homes is not known: {error}")
        return
    limited = [home for home in homes if home["used"] is not None and home["limit"]]
    found["homes"] = [{key: home[key] for key in ("name", "used", "limit")} for home in limited]
    full = sorted((home["used"] / home["limit"], _filled(home)) for home in limited if _nearly_full(home))
    if full:
        more = f" and {len(full) - SHOWN_HOMES} more (hubfleet homes)" if len(full) > SHOWN_HOMES else ""
        whose = ", ".join(words for _, words in full[::-1][:SHOWN_HOMES])
        found["warnings"].append(f"{counted(len(full), 'home')} nearly full: {whose}{more}")


def _nearly_full(home: dict[str, Any]) -> bool:
    return bool(home["used"] >= NEARLY_FULL * home["limit"])


def _filled(home: dict[str, Any]) -> str:
    return f"{home['name']} ({rounded(home['used'])} of {rounded(home['limit'])})"


def look_at_certificate(deployment: Deployment, found: dict[str, Any]) -> None:
    """Add what people are shown: one that ends soon is warned of, one that browsers refuse is a problem."""
    try:
        shown = deployment.certificate()
    except OSError as error:
        if not found["problems"]:  # or else they tell why
            found["problems"].append(f"no certificate is shown at {deployment.url} ({error}); see: hubfleet logs edge")
        return
    if shown is None:
        return
    now = datetime.now(timezone.utc)
    days = shown.days_left(now)
    found["certificate"] = {"names": list(shown.names), "expires": shown.ends.isoformat(), "days_left": int(days)}
    name = urlsplit(deployment.url).hostname or ""
    if not shown.covers(name):
        found["problems"].append(f"there is no certificate for {name}, so browsers warn; see: hubfleet logs edge")
    elif warning := shown.warning(now):
        own = deployment.config.https_kind == "certificate"
        way = "put a new one into its place, then: hubfleet up" if own else "see: hubfleet logs edge"
        found["problems" if days < 0 else "warnings"].append(f"{warning}; {way}")


def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch one line each time.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and show it anew every two seconds.")] = False,
) -> None:
    """Show whether the hub runs, who is on it, and what is wrong.

    Example: hubfleet status --watch
    """
    if not watch:
        _tell(context.obj, as_json)
        return
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how a watch ends
        # Never ends. On a terminal the picture is renewed in place; elsewhere it is printed again and again.
        while as_json or not out.is_terminal:
            _tell(context.obj, as_json, one_line=True)
            time.sleep(WATCH_EVERY_S)
        with Live(console=out, auto_refresh=False, screen=True) as live:
            while True:
                live.update(_seen(context.obj)[1], refresh=True)
                time.sleep(WATCH_EVERY_S)


def _tell(options: Options, as_json: bool, *, one_line: bool = False) -> None:
    found, picture = _seen(options)
    if as_json:
        say_json(found, indent=None if one_line else 1)
    else:
        draw(picture)


def _seen(options: Options) -> tuple[dict[str, Any], RenderableType]:
    if (other := opened(options)) is not None:
        found = projectcommands.gather(other)
        return found, projectcommands.picture(found)
    found = gather(open_deployment(options))
    return found, _picture(found)


def _picture(found: dict[str, Any]) -> RenderableType:
    colour = {"running": "green", "degraded": "yellow", "stopped": "red"}[found["state"]]
    parts: list[RenderableType] = [
        Text.assemble((found["hub"], "bold"), "  ", (found["state"], colour), f"  {found['url']}"),
        Text(
            f"hubfleet {found['version']}, generation {found['generation']}{_back(found)}{_where(found)}", style="dim"
        ),
    ]
    parts += [Text(as_typed(problem), style="yellow") for problem in (*found["problems"], *found["warnings"])]
    if found["state"] == "stopped":
        return Group(*parts, Text(as_typed("Start it with: hubfleet up")))
    processes = parts_table("process", found["processes"])
    may_not = {entry["name"] for entry in found["users"] if not entry["approved"]}
    homes = {home["name"]: f"{rounded(home['used'])} of {rounded(home['limit'])}" for home in found["homes"]}
    servers = table("server of", "name", "profile", "running for", *(["home"] if homes else []))
    for entry in found["servers"]:
        servers.add_row(
            entry["user"] + (" (may not enter)" if entry["user"] in may_not else ""),
            entry["server"] or "default",
            entry["profile"] or "",
            ago(entry["started"]),
            *([homes.get(system_name(entry["user"]), "")] if homes else []),
        )
    # There is always somebody, if only an admin: no names means that nobody could be asked.
    accounts = counted(len(found["users"]), "account") if found["users"] else "accounts not known now"
    people_line = f"{accounts}, {counted(len(found['servers']), 'running server')}"
    return Group(*parts, Text(), processes, Text(), Text(people_line), *([servers] if found["servers"] else []))


def _where(found: dict[str, Any]) -> str:
    """Where it runs, when that is not here, and how long its certificate is good."""
    machine, certificate = found["machine"], found["certificate"]
    place = f", on {machine['name']} ({machine['address']})" if machine["address"] else ""
    return place + (f", certificate until {certificate['expires'][:10]}" if certificate else "")


def _back(found: dict[str, Any]) -> str:
    return f", rolled back to generation {found['rolled_back_to']}" if found["rolled_back_to"] else ""
