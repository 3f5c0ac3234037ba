"""`hubfleet users`: who has signed up; let in, block, give a new password."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hubfleet.cli.begin import open_deployment
from hubfleet.cli.console import as_typed, draw, say, say_json, table
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.talk import ask_hub, people
from hubfleet.config import valid_user
from hubfleet.errors import ConfigError
from hubfleet.names import system_name
from hubfleet.unixhttp import Refused

Name = Annotated[str, typer.Argument(metavar="NAME", help="Login name.")]


def listing(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show who has signed up and where their files are.

    Example: hubfleet users
    """
    if context.invoked_subcommand is not None:
        return
    deployment = open_deployment(context.obj)
    found = [{key: value for key, value in entry.items() if key != "person"} for entry in people(deployment)]
    homes = deployment.homes
    for entry in found:
        entry["home"] = str(homes / system_name(entry["name"])) if homes else None
    if as_json:
        say_json({"hub": deployment.config.hub, "users": found})
        return
    shown = table("name", "may enter", "servers", "home")
    for entry in found:
        role = "yes, admin" if entry["admin"] else "yes" if entry["approved"] else "no"
        role += ", removed" if entry["removed"] else ""
        servers = ", ".join(name or "default" for name in entry["servers"])
        shown.add_row(entry["name"], role, servers, entry["home"] or "not kept")
    draw(shown)


def approve(context: typer.Context, name: Name) -> None:
    """Let somebody in who has signed up, or who was blocked.

    Example: hubfleet users approve ada
    """
    _act(open_deployment(context.obj), name, "approve")
    say(f"{name} may enter.")


def block(context: typer.Context, name: Name) -> None:
    """Lock somebody out now: servers stopped, files kept. Undo it with `approve`.

    Example: hubfleet users block ada
    """
    _act(open_deployment(context.obj), name, "block")
    say(as_typed(f"{name} is locked out and has no running server. Undo: hubfleet users approve {name}"))


def reset_password(context: typer.Context, name: Name) -> None:
    """Give somebody a new password and show it once. Somebody blocked stays blocked.

    Example: hubfleet users reset-password ada
    """
    answer = _act(open_deployment(context.obj), name, "reset-password")
    say(f"New password of {name} (shown only now): {answer['password']}")


def _act(deployment: Deployment, name: str, action: str) -> Any:
    name = valid_user(name)
    try:
        return ask_hub(deployment, "POST", "/hubfleet/people", {"name": name, "action": action})
    except Refused as refusal:
        raise ConfigError(f"{name}: {refusal}", state="Nothing was changed", remedy="hubfleet users") from refusal
