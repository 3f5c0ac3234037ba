"""`hubfleet down`: stop a hub. Nothing is deleted, unless that is asked for in so many words."""

from __future__ import annotations

from typing import Annotated

import typer

from hubfleet.cli import projectcommands
from hubfleet.cli.begin import open_deployment
from hubfleet.cli.console import as_typed, confirm, counted, say
from hubfleet.cli.erase import delete_data
from hubfleet.cli.moved import deployed_last
from hubfleet.cli.projectdeployment import opened
from hubfleet.errors import ConfigError


def down(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    erase: Annotated[
        bool,
        typer.Option("--delete-data", help="And delete all it has on its machine, homes too. Asks for the hub's name."),
    ] = False,
    given: Annotated[
        str | None,
        typer.Option(
            "--yes-delete", metavar="NAME", help="With --delete-data: the hub's name, where nobody can type it."
        ),
    ] = None,
) -> None:
    """Stop the hub and every user's server. Files, accounts and settings stay.

    Example: hubfleet down
    """
    if given is not None and not erase:
        raise ConfigError("--yes-delete is for --delete-data", state="Nothing was changed")
    if (other := opened(context.obj)) is not None:
        if erase:
            projectcommands.delete_data(other, given)
        else:
            projectcommands.down(other, yes=yes)
        return
    deployment = open_deployment(context.obj)
    if erase:
        delete_data(deployment, given)
        return
    next_time = deployment.supervision
    wanted, deployment = deployment.config.engine, deployed_last(deployment)
    servers = deployment.parts.servers()
    if deployment.parts.statuses() is None and not servers:
        say(f"Hub {deployment.config.hub} is not running.")
        return
    if servers:
        say(
            f"{counted(len(servers), 'running server')} will be stopped; what kernels hold in memory is lost:", "yellow"
        )
        for record in servers:
            say(f"  {record['user']} {record['server']}".rstrip())
    if deployment.config.engine != wanted:
        say(f"note: it runs with engine {deployment.config.engine}, and the configuration says {wanted}.", "blue")
    if not yes:
        confirm(f"Stop hub {deployment.config.hub}?", "hubfleet down --yes")
    with deployment.machine.hold(str(deployment.layout.state)):
        stopped = deployment.parts.stop()
    say(f"{stopped_words(deployment.config.hub, stopped)} Files stay in {deployment.layout.state}.")
    say(as_typed(f"Come back with: hubfleet up{' --detach' if next_time in ('daemon', 'systemd') else ''}"))


def stopped_words(hub: str, servers: int) -> str:
    """That the hub is stopped, and how many servers with it."""
    if servers == 0:
        return f"Hub {hub} is stopped; nobody had a server running."
    them = "is the 1 server" if servers == 1 else f"are the {servers} servers"
    return f"Hub {hub} is stopped, and so {them} that ran on it."
