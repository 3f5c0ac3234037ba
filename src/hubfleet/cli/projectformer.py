"""Machines of earlier deployments of a project that its configuration does not name any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hubfleet.cli.moving import Former, reached, way
from hubfleet.cli.projectdeployment import ProjectDeployment
from hubfleet.errors import ApplyError, UnreachableError
from hubfleet.plan import Generations
from hubfleet.projects.base import ProjectMachine
from hubfleet.resources import Container, Resource


def find_left(deployment: ProjectDeployment, known: Mapping[str, Iterable[Resource]]) -> Former:
    """Those with ``known`` resources that still have something of it, and lines about those that cannot be asked.

    One that is named now, by another name, is none: it is reached in the same way, or has the records.
    """
    found, notes = Former().machines, []
    named = [way(settings) for settings in deployment.config.machines.values()]
    for name, items in known.items():
        settings = _settings(deployment, name)
        if name in deployment.machines or settings is None or way(settings) in named:
            continue
        there = reached(name, settings)
        try:
            has_it = there.store.read(str(deployment.layout.project_record)) is not None
            if has_it and not Generations(deployment.layout.state, there.store).numbers():
                found[name] = there
        except UnreachableError as error:
            notes.append(f"{name} cannot be reached ({error.what}). {_to_end(deployment, items)}")
    return Former(found, tuple(notes))


def _to_end(deployment: ProjectDeployment, items: Iterable[Resource]) -> str:
    """What to type on a machine that was left as it was."""
    containers = [item.name for item in items if isinstance(item, Container)]
    ended = f"docker rm --force {' '.join(containers)}, there; " if containers else ""
    return f"To end what it has of {deployment.name}, once it is back: {ended}its data is in {deployment.layout.state}"


def _settings(deployment: ProjectDeployment, name: str) -> ProjectMachine | None:
    """How a machine was reached, by the newest record that knows it."""
    for number in reversed(deployment.generations.numbers()):
        try:
            given = (deployment.dump_of(number) or {}).get("machines", {}).get(name)
        except ApplyError:  # taken away by a deletion that was killed
            continue
        if given is not None:
            return ProjectMachine.model_validate(given)
    return None
