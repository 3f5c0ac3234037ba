"""`hubfleet do`: the actions of a project, beside what all have."""

from __future__ import annotations

from typing import Annotated

import typer

from hubfleet.cli import projectcommands
from hubfleet.cli.console import draw, table
from hubfleet.cli.projectdeployment import opened
from hubfleet.errors import ConfigError
from hubfleet.projects import DEFAULT, project


def do(
    context: typer.Context,
    action: Annotated[
        str | None, typer.Argument(metavar="ACTION", help="Its name; without one, all are listed.")
    ] = None,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGUMENT...", help="What the action takes.")] = None,
) -> None:
    """Carry out an action of the configuration's project, or list those that there are.

    Example: hubfleet do restart api
    """
    other = opened(context.obj)
    found = other.project if other else project(DEFAULT)
    if action is None:
        shown = table("type", "what it does")
        for name, one in found.actions.items():
            words = ["hubfleet", *(["do"] if one.run else []), name, one.usage]
            shown.add_row(" ".join(words).strip(), one.says)
        draw(shown)
        return
    if other is None:
        given = found.actions.get(action)
        remedy = f"hubfleet {action}" if given else "hubfleet do"
        raise ConfigError(f"project {found.name} has no action `{action}` to do", remedy=remedy)
    projectcommands.do(other, action, arguments or [])
