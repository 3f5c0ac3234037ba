"""`hubfleet logs`: the hub's, the proxy's, the launcher's, or one user's server's."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from hubfleet.cli import projectcommands
from hubfleet.cli.begin import open_deployment
from hubfleet.cli.console import say
from hubfleet.cli.projectdeployment import opened
from hubfleet.config import valid_user
from hubfleet.errors import ConfigError, NotRunningError
from hubfleet.names import server_id


def logs(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT", help="hub (by default), proxy, launcher, another part, a service, or a login name."
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines come.")] = False,
    lines: Annotated[
        int, typer.Option("-n", "--lines", metavar="N", min=1, help="How many lines to begin with.")
    ] = 100,
    server: Annotated[str, typer.Option("--server", metavar="NAME", help="A named server of the user.")] = "",
) -> None:
    """Show a log: the hub's, or that of WHAT.

    Example: hubfleet logs ada -f
    """
    if (other := opened(context.obj)) is not None:
        projectcommands.logs(other, what, follow=follow, lines=lines)
        return
    deployment = open_deployment(context.obj)
    parts, what = deployment.parts, what or "hub"
    said = parts.log(what if what in parts.logs else server_id(valid_user(what), server), lines, follow)
    if said is None and deployment.generations.current() == 0:
        raise NotRunningError(f"hub {deployment.config.hub} has no logs: it was never started", remedy="hubfleet up")
    if said is None:
        raise ConfigError(
            f"there is no log of {what!r}",
            remedy=f"hubfleet logs {' or '.join(parts.logs)}, or hubfleet users for the names of users",
        )
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how following ends
        for line in said:
            say(line)
