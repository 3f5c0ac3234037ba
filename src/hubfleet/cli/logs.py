"""`hubfleet logs`: the hub's, the proxy's, the launcher's, or one user's server's."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from hubfleet.cli.console import say
from hubfleet.cli.deployment import open_deployment
from hubfleet.config import valid_user
from hubfleet.errors import ConfigError, NotRunningError
from hubfleet.logfiles import tail
from hubfleet.names import server_id

PARTS = ("hub", "proxy", "launcher", "supervisor")


def logs(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="hub, proxy, launcher, supervisor, or a login name.")
    ] = "hub",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines come.")] = False,
    lines: Annotated[
        int, typer.Option("-n", "--lines", metavar="N", min=1, help="How many lines to begin with.")
    ] = 100,
    server: Annotated[str, typer.Option("--server", metavar="NAME", help="A named server of the user.")] = "",
) -> None:
    """Show a log: the hub's, or that of WHAT.

    Example: hubfleet logs ada -f
    """
    deployment = open_deployment(context.obj)
    logs_dir = deployment.layout.logs
    if not logs_dir.exists():
        raise NotRunningError(f"hub {deployment.config.hub} has no logs: it was never started", remedy="hubfleet up")
    if what in PARTS:
        path = logs_dir / f"{what}.log"
        known = path.exists()
    else:
        identifier = server_id(valid_user(what), server)
        path = logs_dir / "servers" / f"{identifier}.log"
        told = [line for line in tail(logs_dir / "launcher.log", 5000) if f" {identifier}: " in line]
        for line in told:
            say(line)
        known = path.exists() or bool(told)
    if not known:
        raise ConfigError(
            f"there is no log of {what!r}",
            remedy=f"hubfleet logs {' or '.join(PARTS)}, or hubfleet users for the names of users",
        )
    end = _size(path)
    for line in tail(path, lines, end):
        say(line)
    if follow:
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how following ends
            for line in follow_file(path, end):
                say(line)


def follow_file(path: Path, position: int) -> Iterator[str]:
    """Lines as they are appended behind ``position``, also after the file was emptied by rotation. Never ends."""
    rest = ""
    while True:
        size = _size(path)
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


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
