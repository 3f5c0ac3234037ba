"""The projects that Deployer files may be of, and what can be done with each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hubfleet.config.fields import did_you_mean
from hubfleet.errors import ConfigError


@dataclass(frozen=True)
class Project:
    """A project. ``actions``: by name, what each does."""

    name: str
    title: str
    description: str
    actions: Mapping[str, str]


JUPYTERHUB = Project(
    "jupyterhub",
    "TACC Integrated JupyterHub",
    "A JupyterHub for each instance and tenant, with the tenant's login and the site's file systems.",
    {
        "deploy": "Check, and make all machines as the files say. As `hubfleet up --yes`.",
        "update": "The same as deploy.",
        "check": "Look for what would fail, and change nothing. As `hubfleet check`.",
        "plan": "Show every change that deploy would make. As `hubfleet plan`.",
        "status": "Say whether the hub runs, and who is on it. As `hubfleet status`.",
        "stop": "Stop the hub and users' servers; files stay. As `hubfleet down --yes`.",
    },
)
PROJECTS = {project.name: project for project in (JUPYTERHUB,)}
OTHERS = ("abaco", "agave", "oauth")
"""Those that Deployer has beside ours: their parts of a file are left alone."""


def project_of(name: str) -> Project:
    """The project of this name. Raises ConfigError, naming those there are."""
    if name in PROJECTS:
        return PROJECTS[name]
    what = f"project `{name}` is not part of this release" if name in OTHERS else f"no project `{name}`"
    close = "" if name in OTHERS else did_you_mean(name, PROJECTS)
    raise ConfigError(f"{what}{close}", remedy=f"-p {' or -p '.join(PROJECTS)}")


def action_of(project: Project, name: str) -> str:
    """The name of an action, if the project has it. Raises ConfigError, naming those there are."""
    if name in project.actions:
        return name
    what = f"{project.name} has no action `{name}`{did_you_mean(name, project.actions)}"
    raise ConfigError(what, remedy=f"-a {' or -a '.join(project.actions)}")
