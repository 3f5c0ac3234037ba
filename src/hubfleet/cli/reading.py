"""The configuration that a command is for, from whichever files: a hubfleet.yaml, or those of Deployer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hubfleet.config import Config, Secrets, default_config, load
from hubfleet.config.document import read_document
from hubfleet.deployer.files import is_deployer
from hubfleet.errors import ConfigError
from hubfleet.projects import DEFAULT
from hubfleet.projects.load import named
from hubfleet.sshcommand import CONFIGURATIONS

if TYPE_CHECKING:
    from hubfleet.deployer.load import Selection


@dataclass(frozen=True)
class Options:
    """What was given before the command: the file, the hub's name, and whether to show tracebacks.

    ``deployer``: files of Deployer, as they are chosen by options of that command's own.
    """

    config: Path | None = None
    hub: str | None = None
    debug: bool = False
    deployer: Selection | None = None


@dataclass(frozen=True)
class Read:
    """A configuration, and where it is from. ``alone``: no other file says which machines there are."""

    config: Config
    file: Path | None
    secrets: Secrets
    said: tuple[str, ...] = ()
    alone: bool = True


def given_file(options: Options) -> Path | None:
    """The configuration file; None if there is none here, or if files of Deployer are chosen."""
    if _of_deployer(options):
        return None
    return options.config or next((Path(name) for name in CONFIGURATIONS if Path(name).exists()), None)


def _of_deployer(options: Options) -> bool:
    return options.deployer is not None or (options.config is not None and is_deployer(options.config))


def kind_of(file: Path) -> str:
    """The project that a file is of. A hub's file is read once, by `load`, which says what is wrong with it."""
    try:
        if b"project" not in file.read_bytes():
            return DEFAULT
    except OSError:
        return DEFAULT
    return named(read_document(file))


def hubs_only(options: Options) -> None:
    """Raises ConfigError where the file is of another project than JupyterHub."""
    file = given_file(options)
    if file is not None and (kind := kind_of(file)) != DEFAULT:
        raise ConfigError(
            f"this command is for hubs, and {file} is of project {kind}",
            remedy="hubfleet do, for what this project has beside plan, up, status, logs, rollback and down",
        )


def read(options: Options) -> Read:
    """The configuration that is meant, judged; the built-in one where there is no file. Raises ConfigError."""
    if _of_deployer(options):
        # Only here: nobody else needs what reads these.
        from hubfleet.deployer.load import load as load_deployer
        from hubfleet.deployer.load import selected

        loaded = load_deployer(options.deployer or selected(options.config or Path(), options.hub))
        return Read(loaded.config, loaded.file, loaded.secrets, loaded.notes, alone=False)
    hubs_only(options)
    file = given_file(options)
    config = load(options.config, options.hub) if file or options.hub else default_config()
    several = file is not None and "hubs" in read_document(file).data
    return Read(config, file, Secrets.beside(file or Path(CONFIGURATIONS[0]), config.hub if several else None))


def writable(file: Path | None, remedy: str, where: str | None = None) -> None:
    """Raise ConfigError for files that hubfleet reads only."""
    if file is not None and is_deployer(file):
        raise ConfigError("a file of Deployer is not changed by hubfleet", where=where or str(file), remedy=remedy)
