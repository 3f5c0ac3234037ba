"""Desired state as nouns: what a machine should have, and how that differs from what it has."""

from __future__ import annotations

from hubfleet.resources.account import Account
from hubfleet.resources.base import Action, Change, Observed, Resource, fingerprint
from hubfleet.resources.directory import Directory
from hubfleet.resources.environment import Environment, tree_digest
from hubfleet.resources.file import File
from hubfleet.resources.process import Process
from hubfleet.resources.registry import KINDS, from_json

__all__ = [
    "KINDS",
    "Account",
    "Action",
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
