"""`hubfleet homes`: which directory is whose and how much is in it; put one away."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hubfleet.cli.begin import open_deployment
from hubfleet.cli.console import as_typed, confirm, draw, say, say_json, table
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.reading import Options
from hubfleet.cli.talk import ask_launcher, people
from hubfleet.config import valid_user
from hubfleet.errors import ApplyError, ConfigError, NotRunningError
from hubfleet.names import system_name
from hubfleet.units import rounded
from hubfleet.unixhttp import Refused

_LIST_LIMIT_S = 90.0
_ASK_LIMIT_S = 60.0
"""Longer than the launcher takes for an answer: it is asked again until the archive is made."""
Name = Annotated[str, typer.Argument(metavar="NAME", help="Login name.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def listing(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show whose which home is, how much is in it, and how much may be.

    Example: hubfleet homes
    """
    if context.invoked_subcommand is not None:
        return
    deployment = _kept(context.obj)
    found = _homes(deployment)
    if as_json:
        say_json({"hub": deployment.config.hub, "machine": deployment.homes_machine.name, "homes": found})
        return
    shown = table("person", "directory", "owner", "used", "limit")
    for entry in found:
        used = "not counted" if entry["used"] is None else rounded(entry["used"])
        limit = "none" if entry["limit"] is None else rounded(entry["limit"])
        shown.add_row(entry["person"] or "?", entry["directory"], str(entry["uid"]), used, limit)
    draw(shown)


def archive(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Put somebody's home away as an archive, beside the homes. The next start makes a new one.

    Example: hubfleet homes archive ada
    """
    name = valid_user(name)
    deployment = _kept(context.obj)
    home = f"{deployment.homes}/{system_name(name)}"
    where = f" on {deployment.homes_machine.name}" if deployment.remote else ""
    if not yes:
        confirm(f"Put {home}{where} away, and let {name} begin anew?", f"hubfleet homes archive {name} --yes")
    say(f"Archiving {home}{where}; to break off here does not stop it ...")
    try:
        while not (made := ask_launcher(deployment, "/v1/archive", {"user": name}, _ASK_LIMIT_S))["done"]:
            pass  # it has waited for a while
    except Refused as refusal:
        raise ApplyError(f"{name}: {refusal}", state="The home was left as it is") from refusal
    say(f"{name}'s files are in {made['tar']}{where} ({rounded(made['size'])}).")
    say(f"The home itself was moved to {made['moved']}. To have its room back, once the archive is safe: rm -r it.")
    say(
        as_typed(f"{name} gets a new home with the next server. To keep {name} out: hubfleet users block {name}"), "dim"
    )


def _kept(options: Options) -> Deployment:
    deployment = open_deployment(options)
    if deployment.homes is None:
        where = deployment.config.where("storage.homes")
        raise ConfigError("homes are not kept on this hub", where=where, remedy="storage: {homes: {path: /srv/homes}}")
    return deployment


def _homes(deployment: Deployment) -> list[dict[str, Any]]:
    """All of them, by directory. Of people that the hub does not know, the name is the directory's."""
    try:
        found = ask_launcher(deployment, "/v1/homes", limit=_LIST_LIMIT_S)["homes"] or []
    except Refused as refusal:
        raise NotRunningError(str(refusal), remedy="hubfleet status") from refusal
    known = {system_name(entry["name"]): entry["name"] for entry in people(deployment)}
    return [
        {
            "person": known.get(home["name"]) or (home["name"] if system_name(home["name"]) == home["name"] else None),
            "directory": home["path"],
            "uid": home["uid"],
            "gid": home["gid"],
            "used": home["used"],
            "limit": home["limit"],
        }
        for home in found
    ]
