"""Project `jupyterhub`: a hub, by the engine that its configuration names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hubfleet.config import Config
from hubfleet.engines import engine
from hubfleet.engines.base import Site
from hubfleet.projects.base import HERE, Action, Project, SecretFrom
from hubfleet.resources import Resource


class JupyterHub(Project):
    """The hub was there first: its configuration has a form of its own, with groups and users
    that inherit. Its mistakes are found by `config.load`, and what its machines lack by `machinechecks`."""

    name = "jupyterhub"
    model = Config
    actions: Mapping[str, Action] = {
        "users": Action("The people on the hub: approve, block, reset passwords.", None),
        "homes": Action("What homes hold, and putting those of removed people away.", None),
        "machine": Action("Add, drain and remove machines of engine swarm.", None),
        "oauth": Action("Make the hub known to the tenant that people log in at.", None),
        "explain": Action("What one user gets, and from which line.", None),
        "loadtest": Action("Have so many people work on the hub, and see how it bears that.", None),
    }

    def secrets(self, config: Config) -> Mapping[str, SecretFrom]:
        """Of people, those that are made up if nobody wrote them; those of the site, which nobody could make up."""
        people = [] if config.login.provider else [f"admin_password.{name}" for name in config.login.admins]
        people += ["class_password"] if config.login.password else []
        return {
            **dict.fromkeys(people, "generate"),
            **dict.fromkeys([*config.login.secrets, *config.storage.secrets, *config.https_secrets], "file"),
        }

    def problems(self, config: Config, site: Site) -> Sequence[str]:
        return engine(config.engine).problems(config, site)

    def desired(self, config: Config, site: Site) -> Mapping[str, Sequence[Resource]]:
        chosen = engine(config.engine)
        here = chosen.desired(config, site)
        return {config.hub_machine or HERE: here, **chosen.desired_elsewhere(config, site)}
