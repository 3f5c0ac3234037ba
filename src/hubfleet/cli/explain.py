"""`hubfleet explain USER`: what one user gets, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from hubfleet.cli.console import draw, say, say_json, table
from hubfleet.cli.deployment import open_deployment
from hubfleet.config import explain as rows_of
from hubfleet.config import valid_user
from hubfleet.names import system_name


def explain(
    context: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="Login name.")],
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="KEY", help="As if this profile were chosen.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show each setting as USER gets it, and the line it comes from.

    Example: hubfleet explain ada --profile large
    """
    user = valid_user(user)
    deployment = open_deployment(context.obj)
    rows = rows_of(deployment.config, user, profile)
    if as_json:
        found = [{"setting": row.path, "value": row.value, "source": row.source} for row in rows]
        say_json({"user": user, "system_name": system_name(user), "settings": found})
        return
    say(f"{user} is called {system_name(user)} on the machine" if system_name(user) != user else user, "bold")
    shown = table("setting", "value", "from")
    for row in rows:
        shown.add_row(row.path, row.value, row.source)
    draw(shown)
