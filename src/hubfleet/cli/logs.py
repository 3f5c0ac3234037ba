"""`hubfleet logs`: the hub's, the proxy's, the launcher's, or one user's server's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from hubfleet.cli.console import say
from hubfleet.cli.deployment import open_deployment
from hubfleet.config import valid_user
from hubfleet.errors import ConfigError
from hubfleet.logfiles import tail
from hubfleet.names import server_id

PARTS = ("hub", "proxy", "launcher", "supervisor")


def logs(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="hub, proxy, launcher, supervisor, or a login name.")] = "hub",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines come.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many lines to begin with.")] = 100,
    server: Annotated[str, typer.Option("--server", help="A named server of the user.")] = "",
) -> None:
    """Show a log. Example: hubfleet logs ada -f"""
    deployment = open_deployment(context.obj)
    logs_dir = deployment.layout.logs
    if what in PARTS:
        path = logs_dir / f"{what}.log"
    else:
        valid_user(what)
        identifier = server_id(what, server)
        path = logs_dir / "servers" / f"{identifier}.log"
        known = [line for line in tail(logs_dir / "launcher.log", 5000) if f" {identifier}: " in line]
        for line in known:
            say(line)
        if known and not path.exists():  # the server did not get as far as its first line
            return
    if not path.exists():
        raise ConfigError(
            f"there is no log of {what!r}",
            remedy=f"hubfleet logs {' or '.join(PARTS)}, or hubfleet users for the names of users",
        )
    for line in tail(path, lines):
        say(line)
    if follow:
        for line in follow_file(path):
            say(line)


def follow_file(path: Path) -> Iterator[str]:
    """Lines as they are appended, also after the file was emptied by rotation. Never ends."""
    position, rest = path.stat().st_size, ""
    while True:
        size = path.stat().st_size
        if size < position:
            position = 0
        if size > position:
            with open(path, encoding="utf-8", errors="replace") as file:
                file.seek(position)
                rest += file.read()
                position = file.tell()
            *complete, rest = rest.split("\n")
            yield from complete
        time.sleep(0.3)
