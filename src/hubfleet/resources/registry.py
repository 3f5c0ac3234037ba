"""All kinds of resources. A new kind is a file here, a line here and in `__init__`, and a file in `agent/`."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import Any, cast

from hubfleet.errors import ApplyError
from hubfleet.resources.base import Resource

KINDS = {
    "account": "Account",
    "directory": "Directory",
    "disk": "Disk",
    "file": "File",
    "environment": "Environment",
    "export": "Export",
    "process": "Process",
    "docker engine": "DockerEngine",
    "image": "Image",
    "image in the registry": "ImageGiven",
    "image from the registry": "ImageTaken",
    "network": "Network",
    "firewall": "Firewall",
    "opening": "Opening",
    "start after boot": "Comeback",
    "container": "Container",
    "shared directory": "SharedDirectory",
    "skeleton": "Skeleton",
    "swarm manager": "SwarmManager",
    "swarm member": "SwarmMember",
    "swarm node": "SwarmNode",
    "trial": "Trial",
    "database": "Database",
    "set of volumes": "Volumes",
}
"""The class of each kind. It is in the module of that name, in lower case; `agent/` has one of the same name."""


def _class_of(kind: str) -> type[Resource]:
    name = KINDS[kind]
    return cast("type[Resource]", getattr(import_module(f"hubfleet.resources.{name.lower()}"), name))


def from_json(data: dict[str, Any]) -> Resource:
    """The resource that `Resource.to_json` wrote; fields that are no longer known are left out.

    Raises ApplyError for an unknown kind or a missing field.
    """
    if data.get("kind") not in KINDS:
        raise ApplyError(
            f"unknown kind of resource {data.get('kind')!r}",
            remedy="use the hubfleet version that wrote it, or a newer one",
        )
    kind = _class_of(data["kind"])
    known = {field.name for field in fields(kind)}
    try:
        return kind(**{name: _frozen(value) for name, value in data.items() if name in known})
    except TypeError as error:
        raise ApplyError(f"incomplete {data['kind']} in a manifest: {error}") from error


def _frozen(value: Any) -> Any:
    """As a resource has it: no lists, and what it is made of are resources too."""
    if isinstance(value, dict) and value.get("kind") in KINDS:
        return from_json(value)
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
