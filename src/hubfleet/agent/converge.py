"""The agent's two verbs: observe what a machine has, and apply one change to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hubfleet.agent import (
    account,
    container,
    database,
    directory,
    dockerengine,
    environment,
    file,
    firewall,
    image,
    imagecopy,
    network,
    process,
    shared,
    skeleton,
    swarmmanager,
    swarmmember,
    swarmnode,
    trial,
)
from hubfleet.agent.base import Handler, Progress
from hubfleet.errors import ApplyError
from hubfleet.resources import (
    Account,
    Change,
    Container,
    Database,
    Directory,
    DockerEngine,
    Environment,
    File,
    Firewall,
    Image,
    ImageGiven,
    ImageTaken,
    Network,
    Observed,
    Process,
    Resource,
    SharedDirectory,
    Skeleton,
    SwarmManager,
    SwarmMember,
    SwarmNode,
    Trial,
    fingerprint,
)

HANDLERS: dict[str, Handler[Any]] = {
    Account.kind: Handler(account.observe, account.apply),
    Directory.kind: Handler(directory.observe, directory.apply),
    File.kind: Handler(file.observe, file.apply),
    Environment.kind: Handler(environment.observe, environment.apply),
    Process.kind: Handler(process.observe, process.apply),
    DockerEngine.kind: Handler(dockerengine.observe, dockerengine.apply),
    Image.kind: Handler(image.observe, image.apply),
    ImageGiven.kind: Handler(imagecopy.observe_given, imagecopy.give),
    ImageTaken.kind: Handler(imagecopy.observe_taken, imagecopy.take),
    Network.kind: Handler(network.observe, network.apply),
    Firewall.kind: Handler(firewall.observe, firewall.apply),
    Container.kind: Handler(container.observe, container.apply),
    SharedDirectory.kind: Handler(shared.observe, shared.apply),
    Skeleton.kind: Handler(skeleton.observe, skeleton.apply),
    Trial.kind: Handler(trial.observe, trial.apply),
    Database.kind: Handler(database.observe, database.apply),
    SwarmManager.kind: Handler(swarmmanager.observe, swarmmanager.apply),
    SwarmMember.kind: Handler(swarmmember.observe, swarmmember.apply),
    SwarmNode.kind: Handler(swarmnode.observe, swarmnode.apply),
}
"""All handlers, by kind. A new kind is a file here, a line here, and the same two in `resources/`."""


def observe(resources: Iterable[Resource]) -> dict[str, Observed | None]:
    """What this machine has of each resource, by id; None is absent. Changes nothing."""
    return {resource.id: HANDLERS[resource.kind].observe(resource) for resource in resources}


def apply(change: Change, progress: Progress) -> bool:
    """Carries out one change: looks again, acts, and looks whether it worked.

    Returns False if it was done already. Raises ApplyError if the resource is no longer what the plan saw
    (nothing is changed then) or if acting did not have the effect; OSError if the system refuses.
    """
    resource = change.resource
    handler = HANDLERS[resource.kind]
    now = handler.observe(resource)
    if _settled(change, now):
        return False
    in_use = change.action == "remove" and resource.removal(now) is None
    if in_use or (change.seen and change.seen != fingerprint(resource, now)):
        raise ApplyError(
            f"{resource.title} changed since the plan was made",
            state="It was left as it is",
            remedy="hubfleet plan, to see what would be done now",
        )
    handler.apply(resource, change, progress)
    if not _settled(change, handler.observe(resource)):
        raise ApplyError(f"{resource.title} is not as wanted after the change; something else changes it too")
    return True


def _settled(change: Change, observed: Observed | None) -> bool:
    if change.action == "remove":
        return observed is None
    return change.resource.diff(observed) is None
