"""`hubfleet down --delete-data`: remove a hub from its machine, with all it has there, and nothing that is not its."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hubfleet.cli.belongings import (
    KINDS,
    ever_made,
    folders_elsewhere,
    homes_elsewhere,
    homes_inside,
    less_kept,
    of_others,
    own_folders,
    still_there,
    with_homes,
)
from hubfleet.cli.console import as_typed, counted, out, say
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.moved import deployed_last, still_runs
from hubfleet.cli.moving import find_former
from hubfleet.errors import CancelledError_, CheckError, ConfigError
from hubfleet.machines import Machine
from hubfleet.resources import Disk, Image, ImageTaken, Resource
from hubfleet.units import rounded


@dataclass(frozen=True)
class _Beside:
    """What is deleted on a machine that is not the hub's. inside: homes in its directories there, how many."""

    machine: Machine
    resources: tuple[Resource, ...]
    folders: tuple[str, ...]
    homes: dict[str, int]
    markers: tuple[str, ...]
    inside: int

    @property
    def empty(self) -> bool:
        return not (self.resources or self.folders or self.homes)


@dataclass(frozen=True)
class Doomed:
    """What is deleted. Making this changes nothing.

    resources: that are there. homes: outside the state directory, with bytes. folders: of the hub itself. inside: homes
    in the state directory, how many. size: bytes of the folders. kept: lines about what stays. beside: the same of
    other machines, which have no database.
    """

    deployment: Deployment
    resources: tuple[Resource, ...]
    homes: dict[str, int]
    markers: tuple[str, ...]
    folders: tuple[str, ...]
    inside: int
    size: int
    kept: tuple[str, ...]
    beside: tuple[_Beside, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing of the hub."""
        beside = all(one.empty for one in self.beside)
        return beside and not (self.resources or self.homes or self.folders)

    @classmethod
    def of(cls, deployment: Deployment) -> Doomed:
        """Raises CheckError where something is in the way, such as a disk that is mounted inside."""
        layout = deployment.layout
        all_known = ever_made(deployment.generations)
        known = all_known.get(deployment.machine.name, [])
        others = of_others(deployment)
        ids = {item.id for item in others}
        resources, kept = still_there(deployment, deployment.machine, known, ids)
        folders, size = own_folders(deployment.machine, layout, resources)
        folders = [*folders_elsewhere(deployment.machine, layout, known, ids), *folders]
        former = find_former(
            deployment.config, layout, deployment.machine, deployment.others, deployment.generations, all_known
        )
        kept += former.notes
        theirs = set(with_homes(others))
        beside = []
        for name, there in {**deployment.others, **former.machines}.items():
            homes, markers, lines = homes_elsewhere(deployment, there, all_known.get(name, []), theirs)
            kept += [f"on {name}: {line}" for line in lines]
            away, shared = still_there(deployment, there, all_known.get(name, []), ids)
            kept += [f"on {name}: {line}" for line in shared]
            trust = folders_elsewhere(there, layout, all_known.get(name, []), ids)
            of_it = (*trust, *own_folders(there, layout, away)[0])
            gone = tuple(less_kept(away, lines))
            beside.append(_Beside(there, gone, of_it, homes, markers, homes_inside(there, layout)))
        homes, markers, lines = homes_elsewhere(deployment, deployment.machine, known, theirs)
        kept += lines
        count = homes_inside(deployment.machine, layout)
        gone = tuple(less_kept(resources, lines))
        return cls(deployment, gone, homes, markers, tuple(folders), count, size, tuple(kept), tuple(beside))

    def lines(self) -> Iterator[str]:
        """What is deleted, for people."""
        machine, state = self.deployment.machine.name, self.deployment.layout.state
        yield f"From {machine} this is deleted, and cannot be had back:"
        if str(state) in self.folders:
            yield f"  {counted(self.inside, 'home')}, the database, settings, certificates, logs, generations:"
            yield f"    {state} ({rounded(self.size)})"
        yield from (f"  certificates: {path}" for path in self.folders if not path.startswith(f"{state.parent}/"))
        yield from _listed(self.homes)
        yield from counts(self.resources)
        for one in self.beside:
            if not one.empty:
                yield f"And from {one.machine.name}:"
                what = f"{counted(one.inside, 'home')}, " if one.inside else ""
                yield from (f"  {what}certificates, settings: {path}" for path in one.folders)
                yield from _listed(one.homes)
                yield from counts(one.resources)
        yield from (f"  stays: {line}" for line in self.kept)
        yield "  stays: the Docker engine, images that others made, and who had which user id"

    def delete(self) -> None:
        """Stop what runs, and delete it all. The directory of the hub goes last: with it goes what is known of it."""
        machine, store = self.deployment.machine, self.deployment.machine.store
        self.deployment.parts.stop()
        for one in self.beside:
            # Before the hub's machine, with which goes what is known of these.
            remove(one.machine, one.resources)
            for path in one.homes:
                one.machine.store.erase(path)
            for marker in one.markers:
                one.machine.store.remove(marker)
            for path in one.folders:
                say(f"deleting {path} on {one.machine.name}")
                one.machine.store.erase(path)
        remove(machine, self.resources)
        for path in self.homes:
            store.erase(path)
        for marker in self.markers:
            store.remove(marker)
        for path in dict.fromkeys([*self.folders, str(self.deployment.layout.state)]):
            say(f"deleting {path}")
            store.erase(path)


def delete_data(deployment: Deployment, given: str | None) -> None:
    """Tell, ask for the hub's name, and do it. ``given``: the name, where there is nobody to ask."""
    hub, state = deployment.config.hub, deployment.layout.state
    if given is not None and given != hub:
        raise ConfigError(f"the hub is called {hub}, not {given}", state="Nothing was deleted")
    if (runs := still_runs(deployment)) is not None:
        raise CheckError(runs, state="Nothing was deleted")
    deployment = deployed_last(deployment)
    doomed = Doomed.of(deployment)
    names = " and ".join([deployment.machine.name, *(one.machine.name for one in doomed.beside)])
    if doomed.empty:
        say(f"There is nothing of hub {hub} on {names}.")
        return
    servers = deployment.parts.servers()
    if servers:
        whose = ", ".join(f"{record['user']} {record['server']}".rstrip() for record in servers)
        say(f"{counted(len(servers), 'running server')} will be stopped: {whose}", "yellow")
    for line in doomed.lines():
        say(line, "red" if not line.startswith("  stays") else "dim")
    if given is None:
        ask_for(hub, "hub")
    with deployment.machine.hold(str(state)):
        doomed.delete()
    say(f"Hub {hub} is gone from {names}.")


def ask_for(name: str, noun: str) -> None:
    """Return when the name was typed. Raises CancelledError_. noun: what has that name."""
    if not sys.stdin.isatty():
        remedy = as_typed(f"hubfleet down --delete-data --yes-delete {name}")
        raise CancelledError_("there is nobody to ask", state="Nothing was deleted", remedy=remedy)
    try:
        typed = out.input(f"To delete all this, type the {noun}'s name: ").strip()
    except EOFError:
        typed = ""
    if typed != name:
        raise CancelledError_("That is not its name", state="Nothing was deleted")


def remove(machine: Machine, resources: Iterable[Resource]) -> None:
    """Remove them, in this order."""
    for item in resources:
        item = item.end() if isinstance(item, Disk) else item
        change = item.removal(machine.observe([item])[item.id])
        if change is not None:
            say(f"removing {item.title}")
            machine.apply(change, lambda text: None)


def _listed(homes: Mapping[str, int]) -> Iterator[str]:
    if homes:
        yield f"  {counted(len(homes), 'home')} elsewhere ({rounded(sum(homes.values()))}):"
        yield from (f"    {path}" for path in homes)


def counts(resources: Sequence[Resource]) -> Iterator[str]:
    """A line for each kind of them."""
    for kind in KINDS:
        found = [item for item in resources if isinstance(item, kind)]
        if found:
            noun = Image.kind if kind is ImageTaken else kind.kind
            yield f"  {counted(len(found), noun)}: {', '.join(item.key for item in found)}"
