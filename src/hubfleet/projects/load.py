"""From a file to the configuration of its project; all mistakes are reported together, each with its line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from hubfleet.config.checks import empty_values
from hubfleet.config.document import Document, raised, read_document
from hubfleet.config.inherit import select
from hubfleet.config.problems import problem, translate
from hubfleet.config.secrets import Secrets, is_secret_name
from hubfleet.errors import ConfigError
from hubfleet.projects.base import Project, ProjectConfig
from hubfleet.projects.registry import DEFAULT, blamed, package_of, project

KEY = "project"


def named(document: Document) -> str:
    """The project that a file is of. What is no name is JupyterHub's to refuse."""
    given = document.data.get(KEY)
    return given if isinstance(given, str) and given else DEFAULT


def load_project(
    file: Path, name: str | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[Project, ProjectConfig, Secrets]:
    """The project of a file, its configuration, and where its secrets are.

    name: what the deployment has to be called, as with `-H`; None: whatever it is called. Raises ConfigError; its text
    has a line "file:line: setting: problem. Try: ..." for each mistake.
    """
    document = read_document(file)
    kind = named(document)
    found = project(kind, f"{file.name}:{document.line((KEY,))}")
    tree = select(document, name, "name")
    findings = list(empty_values(tree.data))
    empty = {place for place, _, _ in findings}
    problems = [problem(tree.provenance, *finding) for finding in findings]
    config: ProjectConfig | None = None
    try:
        with blamed(kind, package_of(kind), "cannot read this file"):
            config = _validated(found, tree.data, file.resolve().parent)
    except _Invalid as invalid:
        problems += [one for at, one in translate(invalid.error, tree.provenance, found.model) if at not in empty]
    if config is None or problems:
        raise raised(problems)
    with blamed(kind, package_of(kind), "fails with this file"):
        problems = [problem(tree.provenance, *finding) for finding in found.findings(config)]
        wanted = [*found.secrets(config)]
        if kind != DEFAULT and (bad := [name for name in wanted if not is_secret_name(name)]):
            raise ValueError(f"{bad[0]!r} means something else in a secrets file, and cannot be a secret's name")
    secrets = Secrets.beside(file, environ=environ, names=wanted)
    try:
        secrets.check()
    except ConfigError as error:
        problems.append(error)
    if problems:
        raise raised(problems)
    config._provenance = tree.provenance
    return found, config, secrets


class _Invalid(ConfigError):
    """What is wrong is the file, and not the project."""

    def __init__(self, error: ValidationError) -> None:
        super().__init__("not valid")
        self.error = error


def _validated(found: Project, data: object, base: Path) -> ProjectConfig:
    try:
        made: ProjectConfig = found.model.model_validate(data, context={"base": base})
    except ValidationError as error:
        raise _Invalid(error) from None
    return made
