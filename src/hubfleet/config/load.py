"""From a file to a Config: read, choose the hub, validate, check; all mistakes are reported together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from hubfleet.config.checks import empty_values, encryption, files, machines, owners, references
from hubfleet.config.document import raised, read_document
from hubfleet.config.inherit import Tree, select
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
    config, problems = _validated(tree, file)
    problems += _secret_problems(tree, file, environ)
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


def _validated(tree: Tree, file: Path) -> tuple[Config | None, list[ConfigError]]:
    findings = list(empty_values(tree.data))
    empty = {place for place, _, _ in findings}
    base = file.resolve().parent
    findings += [*references(tree.data), *machines(tree.data), *owners(tree.data), *encryption(tree.data)]
    findings += files(tree.data, base)
    problems = [problem(tree.provenance, *finding) for finding in findings]
    config = None
    try:
        config = Config.model_validate(tree.data, context={"base": base})
    except ValidationError as error:
        problems += [found for place, found in translate(error, tree.provenance) if place not in empty]
    return config, sorted(problems, key=_line)


def _secret_problems(tree: Tree, file: Path, environ: Mapping[str, str]) -> list[ConfigError]:
    secrets = Secrets.beside(file, str(tree.data.get("hub")) if tree.shared else None, environ)
    try:
        secrets.check()
    except ConfigError as error:
        return [error]
    return []


def _line(error: ConfigError) -> int:
    number = (error.where or "").rpartition(":")[2]
    return int(number) if number.isdigit() else 0
