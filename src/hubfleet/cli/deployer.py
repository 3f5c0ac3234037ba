"""`hubfleet deployer`: the command line of TACC's Deployer, for the files that were written for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import hubfleet
from hubfleet.cli import check, console, down, plan, status, up
from hubfleet.cli.console import draw, say, table
from hubfleet.cli.reading import Options
from hubfleet.config.document import read_document
from hubfleet.config.fields import did_you_mean
from hubfleet.deployer.files import Kind
from hubfleet.deployer.projects import PROJECTS, action_of, project_of
from hubfleet.errors import ConfigError

if TYPE_CHECKING:
    from hubfleet.deployer.load import Loaded

WORDS = ("execute", "version", "list_projects", "list_actions")
DEPLOYMENT = Path("deployment.yml")
_RUN: dict[str, Callable[[Any], None]] = {
    "deploy": lambda context: up.up(context, yes=True, detach=False, port=None),
    "update": lambda context: up.up(context, yes=True, detach=False, port=None),
    "check": lambda context: check.check(context, as_json=False, port=None),
    "plan": lambda context: plan.plan(context, as_json=False, full=False, detach=False),
    "status": lambda context: status.status(context, as_json=False, watch=False),
    "stop": lambda context: down.down(context, yes=True, erase=False, given=None),
}


def deployer(
    context: typer.Context,
    word: Annotated[
        str, typer.Argument(metavar="COMMAND", help="execute, version, list_projects or list_actions.")
    ] = "execute",
    project: Annotated[
        str | None, typer.Option("-p", "--project", metavar="PROJECT", help="The project [default: jupyterhub].")
    ] = None,
    instance: Annotated[
        str | None, typer.Option("-i", "--instance", metavar="INSTANCE", help="The instance, such as prod.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option("-t", "--tenant", metavar="TENANT", help="The tenant, such as designsafe.")
    ] = None,
    action: Annotated[
        str | None, typer.Option("-a", "--action", metavar="ACTION", help="What to do; list_actions shows them.")
    ] = None,
    servers: Annotated[
        Path | None, typer.Option("-s", "--servers", metavar="FILE", help="The .hosts file [default: the one here].")
    ] = None,
    configs: Annotated[
        Path | None, typer.Option("-c", "--configs", metavar="FILE", help="The .configs file [default: the one here].")
    ] = None,
    passwords: Annotated[
        Path | None,
        typer.Option("-z", "--passwords", metavar="FILE", help="The .passwords file [default: the one here]."),
    ] = None,
    extras: Annotated[
        Path | None, typer.Option("-e", "--extras", metavar="DIRECTORY", help="Accepted; nothing in it is needed.")
    ] = None,
    overrides: Annotated[
        str, typer.Option("-o", "--overrides", metavar="TEXT", help="key=value&key=value, which win over all files.")
    ] = "",
    deployment: Annotated[
        Path | None,
        typer.Option(
            "-d",
            "--deployment",
            metavar="FILE",
            help="File that names project, instance, ... [default: deployment.yml]",
        ),
    ] = None,
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            show_default=False,
            help="Show what holds, and why; -vv: as hubfleet.yaml too.",
        ),
    ] = 0,
    keep: Annotated[
        bool, typer.Option("-k", "--keep_tempfiles", help="Accepted; there are no temporary files.")
    ] = False,
) -> None:
    """Do something for one hub of Deployer's files, as `deployer` does it.

    Example: hubfleet deployer -p jupyterhub -i prod -t designsafe -a deploy
    """
    if word == "version":
        say("hubfleet, for files of TACC's Deployer")
        say(f"Version: {hubfleet.__version__}")
        return
    if word == "list_projects":
        _list_projects()
        return
    if context.obj.config or context.obj.hub:
        what = "-c and -H before `deployer` are of other commands"
        raise ConfigError(what, remedy="-c FILE -p jupyterhub -i prod -t designsafe after it")
    if word not in WORDS:
        raise ConfigError(f"no command `{word}`{did_you_mean(word, WORDS)}", remedy=", ".join(WORDS))
    told = _deployment(deployment)
    chosen = project_of(project or told.get("project", "jupyterhub"))
    if word == "list_actions":
        say(f"Available actions: {list(chosen.actions)}")
        return
    given: dict[Kind, Path | None] = {
        "hosts": servers or _path(told, "servers"),
        "configs": configs or _path(told, "configs"),
        "passwords": passwords or _path(told, "passwords"),
    }
    name = _name(chosen.name, instance or told.get("instance"), tenant or told.get("tenant"))
    wanted = action or told.get("action")
    if wanted is None:
        raise ConfigError("no action is given", remedy=f"-a {' or -a '.join(chosen.actions)}")
    wanted = action_of(chosen, wanted)
    extras = extras or _path(told, "extras")
    if extras is not None and not extras.is_dir():
        raise ConfigError(f"{extras} is not a directory", remedy="leave out -e: nothing in it is needed")
    # Only here, as in `reading`.
    from hubfleet.deployer.load import Selection, load

    selection = Selection(Path(), name, given, overrides)
    loaded = load(selection)
    _explain(loaded, verbose)
    context.obj = Options(loaded.file, loaded.config.hub, context.obj.debug, selection)
    console.remember(["-c", str(loaded.file), "-H", loaded.config.hub])
    _RUN[wanted](context)


def _name(project: str, instance: str | None, tenant: str | None) -> tuple[str, ...]:
    if tenant is not None and instance is None:
        raise ConfigError(f"tenant {tenant} is given without its instance", remedy=f"-i prod -t {tenant}")
    return tuple(part for part in (project, instance, tenant) if part is not None)


def _deployment(file: Path | None) -> dict[str, str]:
    """What the deployment file names. Raises ConfigError for what is none of it."""
    if file is None and not DEPLOYMENT.is_file():
        return {}
    document = read_document(file or DEPLOYMENT)
    known = ("project", "instance", "tenant", "action", "servers", "configs", "passwords", "extras")
    for key, value in document.data.items():
        where = f"{document.file.name}:{document.line((key,))}"
        if key not in known:
            raise ConfigError(f"`{key}` is unknown{did_you_mean(key, known)}", where=where, remedy=", ".join(known))
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{key}: must be text", where=where, remedy=f"{key}: ...")
    return document.data


def _path(told: dict[str, str], key: str) -> Path | None:
    return Path(told[key]) if key in told else None


def _list_projects() -> None:
    say("Available Projects:")
    for project in PROJECTS.values():
        say()
        say(project.title)
        say("*" * len(project.title))
        say(f"id: {project.name}")
        say(f"Description: {project.description}")
        for name, what in project.actions.items():
            say(f"  -a {name}: {what}")


def _explain(loaded: Loaded, verbose: int) -> None:
    """What the files say for this hub; of secrets, that there are some."""
    if verbose:
        shown = table("property", "value", "from")
        for row in loaded.properties:
            shown.add_row(row.name, row.value, row.source)
        draw(shown)
        say()
    if verbose > 1:
        from hubfleet.deployer.write import quiet, texts

        text, _ = texts([quiet(loaded)], Path())
        say(text)
