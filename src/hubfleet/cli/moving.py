"""What happens to machines and containers that served before the configuration named others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hubfleet.config import Config
from hubfleet.config.machines import MachineSettings, SshMachine
from hubfleet.errors import ApplyError, UnreachableError
from hubfleet.layout import Layout
from hubfleet.machines import Machine, SSHMachine
from hubfleet.plan import Desired, Generations, Manifest
from hubfleet.resources import Container, File, Resource, SwarmMember

if TYPE_CHECKING:
    from hubfleet.sshcommand import Way


@dataclass(frozen=True)
class Former:
    """Machines that can be tidied up, by the name they had; and lines about those that cannot."""

    machines: dict[str, Machine] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def reached(name: str, settings: SshMachine) -> SSHMachine:
    """A machine of the configuration."""
    return SSHMachine(name, *way(settings))


def way(settings: SshMachine) -> Way:
    """How `ssh` reaches it."""
    file = ("-F", str(settings.ssh_config)) if settings.ssh_config else ()
    key = ("-i", str(settings.ssh_key), "-o", "IdentitiesOnly=yes") if settings.ssh_key else ()
    return settings.ssh, (*file, *key)


def find_former(
    config: Config,
    layout: Layout,
    machine: Machine,
    others: Mapping[str, Machine],
    generations: Generations,
    known: Mapping[str, Iterable[Resource]],
) -> Former:
    """The machines among those with ``known`` resources that are not in the configuration any more.

    They are reached as the record of then says. One that is here under another name is none: nothing may be taken from
    it. What the hub's own machine was called does not matter, for the records are on it.
    """
    gone = [name for name in known if name not in (machine.name, *others) and not _has_hub(known[name], layout)]
    if not gone:
        return Former()
    place = str(layout.called)
    called = {(found.store.read(place) or "").strip() for found in (machine, *others.values())}
    found: dict[str, Machine] = {}
    notes: list[str] = []
    for name in gone:
        settings = _settings(generations, layout, name)
        if settings is None or name in called:
            continue
        there = reached(name, settings)
        try:
            if (there.store.read(place) or "").strip() == name:
                found[name] = there
        except UnreachableError as error:
            notes.append(f"{name} cannot be reached ({error.what}). {_to_end(known[name])}")
    return Former(found, tuple(notes))


def _to_end(resources: Iterable[Resource]) -> str:
    """What to type on a machine that was left as it was."""
    containers = [item.name for item in resources if isinstance(item, Container)]
    left = [f"docker rm --force {' '.join(containers)}"] if containers else []
    if any(isinstance(item, SwarmMember) for item in resources):
        left.append("docker swarm leave --force (unless other hubs have servers there)")
    return f"To end what it has of this hub, once it is back: {' and '.join(left)}, there" if left else ""


def _has_hub(resources: Iterable[Resource], layout: Layout) -> bool:
    path = str(layout.hub_dir / "hub.json")
    return any(isinstance(item, File) and item.path == path for item in resources)


def _settings(generations: Generations, layout: Layout, name: str) -> MachineSettings | None:
    """How a machine was reached, by the newest record that knows it."""
    path = str(layout.launcher_dir / "launcher.json")
    for number in reversed(generations.numbers()):
        try:
            items = [item for placed in generations.read(number).values() for item in placed]
        except ApplyError:
            continue
        for item in items:
            if isinstance(item, File) and item.path == path:
                given: dict[str, Any] = json.loads(item.content)["config"].get("machines", {})
                if name in given:
                    return MachineSettings.model_validate(given[name])
    return None


def still_serving(desired: Desired, known: Manifest, doors: Iterable[str], layout: Layout) -> dict[str, frozenset[str]]:
    """By machine, ids of the containers that people come in by and that are not wanted there any more, of what these
    run from, and of what tells that machine from others."""
    names = {*doors}
    found: dict[str, frozenset[str]] = {}
    for machine, resources in known.resources.items():
        wanted = {item.id for item in desired.machines.get(machine, ())}
        for item in resources:
            if isinstance(item, Container) and item.name in names and item.id not in wanted:
                needs = [
                    item.id,
                    f"file:{layout.called}",
                    f"network:{item.network}",
                    f"image:{item.image}",
                    *(f"file:{path}" for path in item.reads),
                ]
                found[machine] = found.get(machine, frozenset()) | frozenset(needs)
    return found
