"""`hubfleet plan`: show what `up` would do."""

from __future__ import annotations

from typing import Annotated

import typer

from hubfleet.cli.begin import open_deployment
from hubfleet.cli.console import as_typed, say, say_json, show
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.moved import still_runs
from hubfleet.cli.projectdeployment import opened
from hubfleet.plan import plan_lines


def plan(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show long differences and new files whole.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Plan for `up --detach`.")] = False,
) -> None:
    """Show every change that `up` would make, and change nothing.

    Example: hubfleet plan
    """
    deployment = opened(context.obj) or open_deployment(context.obj, detach=detach)
    made = deployment.plan()
    if as_json:
        say_json(made.to_json())
        return
    show(plan_lines(made, full=full))
    if isinstance(deployment, Deployment) and (runs := still_runs(deployment)) is not None:
        say(as_typed(f"note: {runs}"), "blue")
    for name in deployment.new_passwords:
        say(f"note: {name} will be generated into {deployment.secrets.path}", "blue")
