"""`hubfleet import`: Deployer's files, written anew as one hubfleet.yaml and its secrets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hubfleet.cli.console import as_typed, confirm, counted, remember, say
from hubfleet.cli.reading import writable
from hubfleet.config import Secrets
from hubfleet.config.document import raised
from hubfleet.deployer.files import Kind
from hubfleet.deployer.projects import project_of
from hubfleet.errors import ConfigError, ConfigErrors
from hubfleet.privatefiles import write_private
from hubfleet.sshcommand import CONFIGURATIONS

if TYPE_CHECKING:
    from hubfleet.deployer.load import Loaded, Selection


def import_(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="Where the .configs, .hosts and .passwords files are.")
    ],
    instance: Annotated[
        str | None, typer.Option("-i", "--instance", metavar="INSTANCE", help="Of this instance only.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("-t", "--tenant", metavar="TENANT", help="Of this tenant only.")] = None,
    project: Annotated[str, typer.Option("-p", "--project", metavar="PROJECT", help="Of this project.")] = "jupyterhub",
    servers: Annotated[
        Path | None, typer.Option("-s", "--servers", metavar="FILE", help="The .hosts file, if there are several.")
    ] = None,
    configs: Annotated[
        Path | None, typer.Option("-c", "--configs", metavar="FILE", help="The .configs file, if there are several.")
    ] = None,
    passwords: Annotated[
        Path | None,
        typer.Option("-z", "--passwords", metavar="FILE", help="The .passwords file, if there are several."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before files are replaced.")] = False,
) -> None:
    """Write what Deployer's files say as hubfleet.yaml, and secrets beside it; -c FILE before the command: elsewhere.

    Example: hubfleet import deployments
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory", remedy="hubfleet import DIRECTORY")
    if tenant is not None and instance is None:
        raise ConfigError(f"tenant {tenant} is given without its instance", remedy=f"-i prod -t {tenant}")
    # Only here, as in `reading`.
    from hubfleet.deployer.load import Selection, hubs
    from hubfleet.deployer.write import texts

    target = context.obj.config or Path(CONFIGURATIONS[0])
    writable(target, "-c with the path of a new hubfleet.yaml")
    name = tuple(part for part in (project_of(project).name, instance, tenant) if part is not None)
    given: dict[Kind, Path | None] = {"hosts": servers, "configs": configs, "passwords": passwords}
    found = hubs(Selection(directory, name, given))
    loaded = _loaded([Selection(directory, one, given) for one in found])
    kept = Secrets.beside(target).path
    text, secrets = texts(loaded, target.parent)
    _ask(target, kept if secrets else None, yes)
    target.write_text(text, encoding="utf-8")
    say(f"Wrote {target}: {counted(len(loaded), 'hub')}.")
    if secrets:
        write_private(kept, secrets)
        say(f"Wrote {kept}, readable by you only.")
    for note in dict.fromkeys(note for one in loaded for note in one.notes):
        say(f"note: {note}", "blue")
    for one in loaded:
        for missing in sorted({*one.config.login.secrets, *one.config.storage.secrets} - set(one.given)):
            words = f"{missing} of {one.config.hub} is not in these files; {kept} or the environment has to have it"
            say(f"note: {words}.", "blue")
    which = ["-H", loaded[0].config.hub] if len(loaded) > 1 else []
    remember([*(["-c", str(target)] if context.obj.config else []), *which])
    say(as_typed("Next: hubfleet plan. Deployer's files are not read any more."))


def _loaded(selections: list[Selection]) -> list[Loaded]:
    """All hubs. Raises ConfigError with the mistakes of all of them, each once."""
    from hubfleet.deployer.load import load

    loaded: list[Loaded] = []
    problems: dict[str, ConfigError] = {}
    for selection in selections:
        try:
            loaded.append(load(selection))
        except ConfigError as error:
            problems |= {str(one): one for one in (error.problems if isinstance(error, ConfigErrors) else [error])}
    if problems:
        raise raised(list(problems.values()))
    return loaded


def _ask(target: Path, kept: Path | None, yes: bool) -> None:
    present = [str(path) for path in (target, kept) if path is not None and path.exists()]
    if present and not yes:
        confirm(f"Replace {' and '.join(present)}?", "the same command with --yes, which replaces them")
