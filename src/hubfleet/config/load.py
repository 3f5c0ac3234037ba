"""From a file to a Config: read, choose the hub, validate, check; all mistakes are reported together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from hubfleet.config.checks import empty_values, encryption, files, machines, owners, quotas, references
from hubfleet.config.document import raised, read_document
from hubfleet.config.inherit import Tree, select
from hubfleet.config.loginchecks import groups, lists, logins
from hubfleet.config.models import Config
from hubfleet.config.problems import problem, translate
from hubfleet.config.secrets import Secrets
from hubfleet.errors import ConfigError
from hubfleet.sshcommand import CONFIGURATIONS


def load(path: Path | None, hub: str | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration of one hub.

    path: the file; None means hubfleet.yaml (or .yml) in the current directory.
    hub:  its name; None will do when the file describes one.
    Raises ConfigError; its text has a line "file:line: setting: problem. Try: ..." for each mistake.
    """
    file = path if path is not None else _find()
    tree = select(read_document(file), hub)
    secrets = Secrets.beside(file, str(tree.data.get("hub")) if tree.shared else None, environ)
    return build(tree, file.resolve().parent, secrets)


def build(tree: Tree, base: Path, secrets: Secrets, known: Sequence[ConfigError] = ()) -> Config:
    """The configuration that plain data describe.

    base:  the directory that paths in it are relative to.
    known: mistakes that were found before, to be told with those that are found here.
    Raises ConfigError with all of them, as `load` does.
    """
    config, problems = _validated(tree, base)
    problems = sorted([*known, *problems], key=_place)
    try:
        secrets.check()
    except ConfigError as error:
        problems.append(error)
    if config is None or problems:
        raise raised(problems)
    config._provenance = tree.provenance
    return config


def _find() -> Path:
    present = [Path(name) for name in CONFIGURATIONS if Path(name).exists()]
    if len(present) > 1:
        raise ConfigError(f"both {' and '.join(CONFIGURATIONS)} are here", remedy="remove one of them")
    if not present:
        raise ConfigError(f"{CONFIGURATIONS[0]} not found in {Path.cwd()}", remedy="run `hubfleet init`")
    return present[0]


def _validated(tree: Tree, base: Path) -> tuple[Config | None, list[ConfigError]]:
    findings = list(empty_values(tree.data))
    empty = {place for place, _, _ in findings}
    findings += [*references(tree.data), *machines(tree.data), *owners(tree.data), *encryption(tree.data)]
    findings += [*quotas(tree.data), *logins(tree.data), *groups(tree.data), *files(tree.data, base)]
    problems = [problem(tree.provenance, *finding) for finding in findings]
    problems += lists(tree.data, base)
    config = None
    try:
        config = Config.model_validate(tree.data, context={"base": base})
    except ValidationError as error:
        problems += [found for place, found in translate(error, tree.provenance) if place not in empty]
    return config, problems


def _place(error: ConfigError) -> tuple[str, int]:
    """What problems are sorted by: the file, and the line in it."""
    file, _, number = (error.where or "").rpartition(":")
    return file, int(number) if number.isdigit() else 0
