"""`hubfleet explain USER`: what one user gets, and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hubfleet.cli.begin import open_deployment
from hubfleet.cli.console import draw, say, say_json, table
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.talk import people
from hubfleet.config import explain as rows_of
from hubfleet.config import valid_user
from hubfleet.config.belonging import NOWHERE, Belonging, told_of
from hubfleet.config.fields import did_you_mean
from hubfleet.config.login import read_list
from hubfleet.errors import NotRunningError
from hubfleet.names import system_name
from hubfleet.unixhttp import Refused


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
    listed = read_list(deployment.config.login.list_file)
    entries = _people(deployment, user)
    rows = rows_of(deployment.config, user, profile, listed, _belonging(deployment, user, entries))
    known, word = _known(deployment, user, entries)
    if as_json:
        found = [{"setting": row.path, "value": row.value, "source": row.source} for row in rows]
        say_json({"user": user, "system_name": system_name(user), "known": known, "settings": found})
        return
    say(f"{user} is called {system_name(user)} on the machine" if system_name(user) != user else user, "bold")
    if word:
        comes = "who comes" if deployment.config.login.provider else "who signs up"
        say(f"note: {word} Anybody {comes} under this name gets what follows.", "yellow")
    shown = table("setting", "value", "from")
    for row in rows:
        shown.add_row(row.path, row.value, row.source)
    draw(shown)


def _named(deployment: Deployment) -> set[str]:
    """Everybody whom the file names."""
    login, groups = deployment.config.login, deployment.config.groups.values()
    named = {*deployment.config.users, *login.admins, *(member for group in groups for member in group.members)}
    return named | {*(login.allow.users if login.allow else ()), *read_list(login.list_file)}


def _people(deployment: Deployment, user: str) -> dict[str, dict[str, Any]] | None:
    """Everybody whom the hub knows, by name; None where it cannot be asked, and need not be."""
    if user in _named(deployment) and not told_of(deployment.config):
        return None
    try:
        return {entry["name"]: entry for entry in people(deployment)}
    except (NotRunningError, Refused, OSError):
        return None


def _belonging(deployment: Deployment, user: str, entries: dict[str, dict[str, Any]] | None) -> Belonging | None:
    """What provider and hub tell of the user's groups; None where nobody can tell."""
    if not told_of(deployment.config):
        return NOWHERE
    if entries is None:
        return None
    entry = entries.get(user, {})
    return Belonging.of((entry.get("person") or {}).get("groups", ()), entry.get("groups", ()))


def _known(deployment: Deployment, user: str, entries: dict[str, dict[str, Any]] | None) -> tuple[bool | None, str]:
    """Whether the file or the hub knows somebody (None: only a hub that runs could tell), and a word if not.

    A name that nobody has yet is no mistake: people sign up, and whoever runs the hub may ask before they do.
    """
    login, named = deployment.config.login, _named(deployment)
    if user in named:
        return True, ""
    file = deployment.file.name if deployment.file else "any file"
    refused = " Nor would it be let in: it is not under login.allow." if login.allow and not login.provider else ""
    if entries is None:
        return None, f"{user} is not named in {file}; who has signed up, only a hub that runs can tell.{refused}"
    if user in entries:
        return True, ""
    close = did_you_mean(user, named | set(entries)) or "."
    return False, f"{user} is not named in {file}, and nobody has signed up so{close}{refused}"
