"""The agent's two verbs: observe what a machine has, and apply one change to it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from hubfleet.agent.base import Handler, Progress
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed, Resource, fingerprint
from hubfleet.resources.registry import KINDS


def handler(kind: str) -> Handler[Any]:
    """How resources of a kind are read and changed. Its module is imported now, for most agents see a few kinds."""
    module = import_module(f"hubfleet.agent.{KINDS[kind].lower()}")
    return Handler(module.observe, module.apply)


def observe(resources: Iterable[Resource]) -> dict[str, Observed | None]:
    """What this machine has of each resource, by id; None is absent. Changes nothing."""
    return {resource.id: handler(resource.kind).observe(resource) for resource in resources}


def apply(change: Change, progress: Progress) -> bool:
    """Carries out one change: looks again, acts, and looks whether it worked.

    Returns False if it was done already. Raises ApplyError if the resource is no longer what the plan saw
    (nothing is changed then) or if acting did not have the effect; OSError if the system refuses.
    """
    resource = change.resource
    agent = handler(resource.kind)
    now = agent.observe(resource)
    if _settled(change, now):
        return False
    in_use = change.action == "remove" and resource.removal(now) is None
    if in_use or (change.seen and change.seen != fingerprint(resource, now)):
        raise ApplyError(
            f"{resource.title} changed since the plan was made",
            state="It was left as it is",
            remedy="hubfleet plan, to see what would be done now",
        )
    agent.apply(resource, change, progress)
    if not _settled(change, agent.observe(resource)):
        raise ApplyError(f"{resource.title} is not as wanted after the change; something else changes it too")
    return True


def _settled(change: Change, observed: Observed | None) -> bool:
    if change.action == "remove":
        return change.resource.absent(observed)
    return change.resource.diff(observed) is None
