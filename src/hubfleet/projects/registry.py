"""Finds projects by name, and says in words what is wrong with one that somebody else has made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

from hubfleet.config.fields import did_you_mean
from hubfleet.errors import ApplyError, ConfigError, HubfleetError
from hubfleet.projects.base import Project, ProjectConfig

GROUP = "hubfleet.projects"
DEFAULT = "jupyterhub"
OWN = {
    "jupyterhub": "hubfleet.projects.jupyterhub:JupyterHub",
    "services": "hubfleet.projects.services:Services",
}
"""Our own, as our entry points say too: who deploys one of these does not wait for a look through all packages."""


def names() -> list[str]:
    """All projects that are installed."""
    return sorted({*OWN, *(point.name for point in _points())})


def project(name: str, where: str | None = None) -> Project:
    """The project of this name. Raises ConfigError for one that is not there, or whose package is not as it should be.

    where: file and line that name it.
    """
    if name in OWN:
        return _checked(name, "hubfleet", _named(OWN[name])())
    points = [point for point in _points() if point.name == name]
    if not points:
        known = names()
        what = f"no project `{name}` is installed here{did_you_mean(name, known)}"
        raise ConfigError(
            what, where=where, remedy=f"{', '.join(known)}; or install its package beside hubfleet (pip install ...)"
        )
    packages = [_package(point) for point in points]
    if len({point.value for point in points}) > 1:
        both = " and ".join(sorted(packages))
        raise ConfigError(f"{both} both bring a project `{name}`", where=where, remedy="remove one of these packages")
    with blamed(name, packages[0], "could not be loaded", where):
        made = points[0].load()()
    return _checked(name, packages[0], made, where)


@contextmanager
def blamed(name: str, package: str, what: str, where: str | None = None, *, begun: bool = False) -> Iterator[None]:
    """Says whose fault it is that somebody else's code fails; errors of ours go through. `--debug` shows all of it.

    begun: it may have changed something. Raises ConfigError, or ApplyError then.
    """
    try:
        yield
    except (HubfleetError, KeyboardInterrupt):
        raise
    except BaseException as error:
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
        kind = ApplyError if begun else ConfigError
        raise kind(
            f"project `{name}` of package {package} {what} ({said})",
            where=where,
            state="What it has done until then stays done" if begun else "Nothing was changed",
            remedy=f"another version of {package}, or tell who made it what --debug shows",
        ) from error


def _checked(name: str, package: str, made: Any, where: str | None = None) -> Project:
    """Raises ConfigError for what is no project, in words for who is writing one."""
    faults = [] if isinstance(made, Project) else ["it is no subclass of hubfleet.projects.Project"]
    if getattr(made, "name", None) != name:
        faults.append(f"its `name` is {getattr(made, 'name', None)!r}")
    model = getattr(made, "model", None)
    if name != DEFAULT and not (isinstance(model, type) and issubclass(model, ProjectConfig)):
        faults.append("its `model` is no subclass of hubfleet.projects.ProjectConfig")
    if faults:
        raise ConfigError(
            f"project `{name}` of package {package} is not as hubfleet needs it: {'; '.join(faults)}",
            where=where,
            state="Nothing was changed",
            remedy=f"another version of {package}",
        )
    return cast("Project", made)


def package_of(name: str) -> str:
    """Name and version of the package that brings a project."""
    return "hubfleet" if name in OWN else next((_package(one) for one in _points() if one.name == name), "?")


def _points() -> list[Any]:
    # Only here: it takes its time, and most need none of it.
    from importlib.metadata import entry_points

    return list(entry_points(group=GROUP))


def _package(point: Any) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else str(point.value)


def _named(value: str) -> Any:
    module, _, name = value.partition(":")
    return getattr(import_module(module), name)
