"""Desired state as nouns: what a machine should have, and how that differs from what it has."""

from hubfleet.resources.account import Account
from hubfleet.resources.base import Change, Observed, Resource, fingerprint
from hubfleet.resources.directory import Directory
from hubfleet.resources.environment import Environment, tree_digest
from hubfleet.resources.file import File
from hubfleet.resources.process import Process
from hubfleet.resources.registry import from_json

__all__ = [
    "Account",
    "Change",
    "Directory",
    "Environment",
    "File",
    "Observed",
    "Process",
    "Resource",
    "fingerprint",
    "from_json",
    "tree_digest",
]
