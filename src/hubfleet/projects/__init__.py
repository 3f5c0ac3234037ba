"""What hubfleet can deploy. A project brings its configuration, what should be on machines, and actions of its own.

A package of somebody else's names its project in its entry points, in the group `hubfleet.projects`:

    [project.entry-points."hubfleet.projects"]
    abaco = "hubfleet_abaco:Abaco"

and a configuration file says `project: abaco`. See `Project` for what the class has.
"""

from hubfleet.config.section import setting
from hubfleet.projects.base import Action, Asked, Finding, Project, ProjectConfig, ProjectMachine, Site
from hubfleet.projects.registry import DEFAULT, names, project

__all__ = [
    "DEFAULT",
    "Action",
    "Asked",
    "Finding",
    "Project",
    "ProjectConfig",
    "ProjectMachine",
    "Site",
    "names",
    "project",
    "setting",
]
