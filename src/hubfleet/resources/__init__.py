"""Desired state as nouns: what a machine should have, and how that differs from what it has.

A kind is imported when it is first named: the agent, which starts anew with each connection, is told of a few only.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hubfleet.resources.base import Change, Observed, Resource, fingerprint
from hubfleet.resources.registry import KINDS, from_json

if TYPE_CHECKING:
    from hubfleet.resources.account import Account
    from hubfleet.resources.comeback import Comeback
    from hubfleet.resources.container import Container
    from hubfleet.resources.database import Database
    from hubfleet.resources.directory import Directory
    from hubfleet.resources.disk import Disk
    from hubfleet.resources.dockerengine import DockerEngine
    from hubfleet.resources.environment import Environment, tree_digest
    from hubfleet.resources.export import Export
    from hubfleet.resources.file import File
    from hubfleet.resources.firewall import Firewall
    from hubfleet.resources.image import Image
    from hubfleet.resources.imagegiven import ImageGiven
    from hubfleet.resources.imagetaken import ImageTaken
    from hubfleet.resources.network import Network
    from hubfleet.resources.opening import Opening
    from hubfleet.resources.process import Process
    from hubfleet.resources.shareddirectory import SharedDirectory
    from hubfleet.resources.skeleton import Skeleton
    from hubfleet.resources.swarmmanager import SwarmManager
    from hubfleet.resources.swarmmember import SwarmMember
    from hubfleet.resources.swarmnode import SwarmNode
    from hubfleet.resources.trial import Trial
    from hubfleet.resources.volumes import Volumes

__all__ = [
    "Account",
    "Change",
    "Comeback",
    "Container",
    "Database",
    "Directory",
    "Disk",
    "DockerEngine",
    "Environment",
    "Export",
    "File",
    "Firewall",
    "Image",
    "ImageGiven",
    "ImageTaken",
    "Network",
    "Observed",
    "Opening",
    "Process",
    "Resource",
    "SharedDirectory",
    "Skeleton",
    "SwarmManager",
    "SwarmMember",
    "SwarmNode",
    "Trial",
    "Volumes",
    "fingerprint",
    "from_json",
    "tree_digest",
]

_MODULES = {**{name: name.lower() for name in KINDS.values()}, "tree_digest": "environment"}

if not TYPE_CHECKING:  # or else any name would do for the checks

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
