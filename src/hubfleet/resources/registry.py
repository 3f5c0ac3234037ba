"""All kinds of resources. A new kind is a file here, a line here, and the same two in `agent/`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hubfleet.errors import ApplyError
from hubfleet.resources.account import Account
from hubfleet.resources.base import Resource
from hubfleet.resources.container import Container
from hubfleet.resources.database import Database
from hubfleet.resources.directory import Directory
from hubfleet.resources.dockerengine import DockerEngine
from hubfleet.resources.environment import Environment
from hubfleet.resources.file import File
from hubfleet.resources.firewall import Firewall
from hubfleet.resources.image import Image
from hubfleet.resources.imagecopy import ImageGiven, ImageTaken
from hubfleet.resources.network import Network
from hubfleet.resources.process import Process
from hubfleet.resources.shared import SharedDirectory
from hubfleet.resources.skeleton import Skeleton
from hubfleet.resources.swarmmanager import SwarmManager
from hubfleet.resources.swarmmember import SwarmMember
from hubfleet.resources.swarmnode import SwarmNode
from hubfleet.resources.trial import Trial

KINDS: dict[str, type[Resource]] = {
    Account.kind: Account,
    Directory.kind: Directory,
    File.kind: File,
    Environment.kind: Environment,
    Process.kind: Process,
    DockerEngine.kind: DockerEngine,
    Image.kind: Image,
    ImageGiven.kind: ImageGiven,
    ImageTaken.kind: ImageTaken,
    Network.kind: Network,
    Firewall.kind: Firewall,
    Container.kind: Container,
    SharedDirectory.kind: SharedDirectory,
    Skeleton.kind: Skeleton,
    Trial.kind: Trial,
    Database.kind: Database,
    SwarmManager.kind: SwarmManager,
    SwarmMember.kind: SwarmMember,
    SwarmNode.kind: SwarmNode,
}


def from_json(data: dict[str, Any]) -> Resource:
    """The resource that `Resource.to_json` wrote; fields that are no longer known are left out.

    Raises ApplyError for an unknown kind or a missing field.
    """
    kind = KINDS.get(data.get("kind", ""))
    if kind is None:
        raise ApplyError(
            f"unknown kind of resource {data.get('kind')!r}",
            remedy="use the hubfleet version that wrote it, or a newer one",
        )
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
