"""From Deployer's files to a Config: read, choose the hub, translate, and judge as any other configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubfleet.config import Config, Secrets
from hubfleet.config.document import leaves as data_leaves
from hubfleet.config.document import raised
from hubfleet.config.fields import did_you_mean, valid_hub
from hubfleet.config.inherit import Provenance
from hubfleet.config.load import build as build_config
from hubfleet.config.secrets import NAMES
from hubfleet.deployer.build import Build
from hubfleet.deployer.files import Files, Kind, read_files
from hubfleet.deployer.hosts import hosts_of
from hubfleet.deployer.properties import PROPERTIES
from hubfleet.deployer.stanzas import Name, Written, frame_problems, inherited, leaves, names, overridden, shown
from hubfleet.deployer.translate import translate
from hubfleet.errors import ConfigError
from hubfleet.units import Secret

PROJECT = "jupyterhub"
_PARTS = ("-p", "-i", "-t")


@dataclass(frozen=True)
class Selection:
    """Which files, and which hub of them. ``name``: project, instance and tenant, as far as given; () for the only one.

    ``given``: files that are named; of the other kinds those in the folder are taken. ``overrides``: the text of -o.
    """

    folder: Path = Path()
    name: Name = ()
    given: Mapping[Kind, Path | None] = field(default_factory=dict)
    overrides: str = ""


@dataclass(frozen=True)
class Property:
    """A property as it holds for a hub. ``value``: asterisks for what is not shown."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class Loaded:
    """A hub that Deployer's files describe.

    ``file``: the .configs. ``data``: what its hubfleet.yaml would hold, with paths relative to that file;
    ``provenance``: where each of that is from. ``given``: the secrets of the files, by hubfleet's names.
    ``stanza``: the key of the hub's own.
    """

    config: Config
    file: Path
    secrets: Secrets
    notes: tuple[str, ...]
    properties: tuple[Property, ...]
    data: dict[str, Any]
    provenance: Provenance
    given: Mapping[str, Secret]
    stanza: str


def selected(path: Path, hub: str | None) -> Selection:
    """The hub called ``hub`` of a directory, or of a .configs file and those beside it. Raises ConfigError."""
    folder = path if path.is_dir() else path.parent
    given: dict[Kind, Path | None] = {} if path.is_dir() else {"configs": path.with_suffix(".configs")}
    if hub is None:
        return Selection(folder, (), given)
    files = read_files(folder, dict(given))
    known = names(files.all, PROJECT)
    found = [name for name in known if _plain(name) == hub.lower() or shown(name) == hub]
    if not found:
        close = did_you_mean(hub, [shown(name) for name in known])
        listed = " or -H ".join(shown(name) for name in leaves(known))
        raise ConfigError(f"no hub `{hub}` here{close}", where=files.configs.file.name, remedy=f"-H {listed}")
    return Selection(folder, found[0], given)


def hubs(selection: Selection) -> list[Name]:
    """The names of all hubs below what is selected. Raises ConfigError if there is none."""
    files = read_files(selection.folder, dict(selection.given))
    project, *rest = selection.name or (PROJECT,)
    known = leaves(names(files.all, project))
    found = [name for name in known if name[: len(rest) + 1] == (project, *rest)]
    if not found:
        _chosen(files, selection.name)
        raise ConfigError(f"no stanza of {project} is here", where=files.configs.file.name, remedy=f"{project}.prod:")
    return found


def load(selection: Selection, environ: Mapping[str, str] = os.environ) -> Loaded:
    """The hub that is selected. Raises ConfigError, with all mistakes of the files."""
    files = read_files(selection.folder, dict(selection.given))
    project = selection.name[0] if selection.name else PROJECT
    frames = [problem for document in files.all for problem in frame_problems(document, project)]
    if frames:
        raise raised(frames)
    name = _chosen(files, selection.name)
    hub = hub_name(name)
    _only(files, name, hub)
    problems: list[ConfigError] = []
    found = inherited(files, name, problems)
    _override(found, overridden(selection.overrides))
    file = files.configs.file
    # Among several hubs each has its own part of hubfleet's own file, as it has with a hubfleet.yaml.
    part = hub if len(leaves(names(files.all, project))) > 1 else None
    kept = Secrets.beside(file, part, environ)
    build = Build(name, hub, files, found, frozenset(one for one in NAMES if kept.has(one)))
    hosts = hosts_of(files, name, problems)
    if problems:
        raise raised([*problems, *build.problems])
    translate(build, hosts)
    secrets = Secrets(kept.path, part, environ, given=build.secrets)
    config = build_config(build.tree, file.resolve().parent, secrets, build.problems)
    given = {key: secret for key, (_, secret) in build.secrets.items()}
    rows = tuple(_row(key, written) for key, written in build.written.items())
    tree = build.tree
    return Loaded(config, file, secrets, tuple(build.notes), rows, tree.data, tree.provenance, given, shown(name))


def hub_name(name: Name) -> str:
    """The hub's name of a stanza. Raises ConfigError if it cannot be one."""
    try:
        return valid_hub(_plain(name))
    except ConfigError as error:
        raise ConfigError(f"{shown(name)}: {error.what}", remedy=error.remedy) from None


def _plain(name: Name) -> str:
    return shown(name).lower().replace("_", "-")


def _chosen(files: Files, name: Name) -> Name:
    """The name, once it is known that the files have it; without one, that of their only hub."""
    project = name[0] if name else PROJECT
    known = names(files.all, project)
    if name:
        for size in range(2, len(name) + 1):
            beside = [
                other[size - 1] for other in known if len(other) >= size and other[: size - 1] == name[: size - 1]
            ]
            if name[size - 1] not in beside:
                what = "instance" if size == 2 else "tenant"
                close = did_you_mean(name[size - 1], beside)
                listed = f" or {_PARTS[size - 1]} ".join(dict.fromkeys(beside))
                raise ConfigError(
                    f"no {what} `{name[size - 1]}` of {shown(name[: size - 1])} in any of the files{close}",
                    remedy=f"{_PARTS[size - 1]} {listed}" if listed else f"leave out {_PARTS[size - 1]}",
                )
        if len(name) > 1 or not [other for other in known if len(other) > 1]:
            return name
    found = leaves(known)
    if len(found) == 1:
        return found[0]
    where = files.configs.file.name
    if not found:
        raise ConfigError(f"no stanza of {project} is here", where=where, remedy=f"{project}.prod: ...")
    words = " ".join(f"{option} {part}" for option, part in zip(_PARTS[1:], found[0][1:], strict=False))
    listed = ", ".join(shown(other) for other in found)
    raise ConfigError(f"the files describe {len(found)} hubs: {listed}", where=where, remedy=words)


def _only(files: Files, name: Name, hub: str) -> None:
    for other in names(files.all, name[0]):
        if other != name and _plain(other) == hub:
            what = f"{shown(name)} and {shown(other)} would both be hub {hub}"
            raise ConfigError(what, where=files.configs.file.name, remedy="names that differ in more")


def _override(found: dict[str, list[Written]], given: Mapping[str, Written]) -> None:
    for key, written in given.items():
        if written.value is None:
            found.pop(key, None)
        else:
            found.setdefault(key, []).append(written)


def _row(key: str, written: Written) -> Property:
    # What another project means by a global one, such as a password of its own, is not known here.
    hidden = written.hidden or key not in PROPERTIES or PROPERTIES[key].secret
    value = Secret.MASK if hidden else _told(written.text)
    part = f" ({written.part})" if written.part else ""
    return Property(key, value, f"{written.where()}{part}")


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        inner = [(place, part) for place, part in data_leaves(value) if not isinstance(part, dict | list)]
        return ", ".join(f"{'.'.join(place)}: {_told(part)}" for place, part in inner)
    text = str(value)
    return f"{text.splitlines()[0]} ..." if "\n" in text else text
