"""Desired state as nouns: what a machine should have, and how that differs from what it has."""

from hubfleet.resources.account import Account
from hubfleet.resources.base import Change, Observed, Resource, fingerprint
from hubfleet.resources.container import Container
from hubfleet.resources.database import Database
from hubfleet.resources.directory import Directory
from hubfleet.resources.dockerengine import DockerEngine
from hubfleet.resources.environment import Environment, tree_digest
from hubfleet.resources.file import File
from hubfleet.resources.firewall import Firewall
from hubfleet.resources.image import Image
from hubfleet.resources.imagecopy import ImageGiven, ImageTaken
from hubfleet.resources.network import Network
from hubfleet.resources.process import Process
from hubfleet.resources.registry import from_json
from hubfleet.resources.shared import SharedDirectory
from hubfleet.resources.skeleton import Skeleton
from hubfleet.resources.swarmmanager import SwarmManager
from hubfleet.resources.swarmmember import SwarmMember
from hubfleet.resources.swarmnode import SwarmNode
from hubfleet.resources.trial import Trial

__all__ = [
    "Account",
    "Change",
    "Container",
    "Database",
    "Directory",
    "DockerEngine",
    "Environment",
    "File",
    "Firewall",
    "Image",
    "ImageGiven",
    "ImageTaken",
    "Network",
    "Observed",
    "Process",
    "Resource",
    "SharedDirectory",
    "Skeleton",
    "SwarmManager",
    "SwarmMember",
    "SwarmNode",
    "Trial",
    "fingerprint",
    "from_json",
    "tree_digest",
]
