"""`hubfleet down --delete-data`: remove a hub from its machine, with all it has there, and nothing that is not its."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hubfleet.cli.console import as_typed, counted, out, say
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.moved import deployed_last, still_runs
from hubfleet.cli.moving import find_former
from hubfleet.engines.homes import HOMES_MARKER
from hubfleet.errors import ApplyError, CancelledError_, CheckError, ConfigError, HubfleetError
from hubfleet.layout import Layout
from hubfleet.machines import Machine
from hubfleet.plan import Generations
from hubfleet.resources import Account, Container, File, Firewall, Image, Network, Resource

_KINDS = (Container, Firewall, Network, Image, Account)
"""What a hub has outside its own directory, in the order in which it can go."""


@dataclass(frozen=True)
class _Beside:
    """What is deleted on a machine that is not the hub's."""

    machine: Machine
    resources: tuple[Resource, ...]
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Doomed:
    """What is deleted. Making this changes nothing.

    resources: that are there. homes: outside the state directory, with bytes. folders: of the hub itself. inside: homes
    in the state directory, how many. size: bytes of the folders. kept: lines about what stays. beside: the same of
    other machines, which have no homes and no database.
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
        beside = [one for one in self.beside if one.resources or one.folders]
        return not (self.resources or self.homes or self.folders or beside)

    @classmethod
    def of(cls, deployment: Deployment) -> Doomed:
        """Raises CheckError where something is in the way, such as a disk that is mounted inside."""
        layout, store = deployment.layout, deployment.machine.store
        all_known = _known(deployment.generations)
        known = all_known.get(deployment.machine.name, [])
        others = _others(deployment)
        resources, kept = _there(deployment, deployment.machine, known, {item.id for item in others})
        inside = store.measure(str(layout.homes))
        folders, size = _folders(deployment.machine, layout)
        former = find_former(
            deployment.config, layout, deployment.machine, deployment.others, deployment.generations, all_known
        )
        kept += former.notes
        beside = tuple(
            _Beside(
                there,
                tuple(_there(deployment, there, all_known.get(name, []), set())[0]),
                tuple(_folders(there, layout)[0]),
            )
            for name, there in {**deployment.others, **former.machines}.items()
        )
        homes: dict[str, int] = {}
        markers = []
        theirs = set(_homes(others))
        for folder in dict.fromkeys([*_homes(known), *([str(deployment.homes)] if deployment.homes else [])]):
            if folder == str(layout.homes):
                continue
            why, found_homes = _outside(deployment, folder, folder in theirs)
            homes.update(found_homes or {})
            kept += [why] if why else []
            markers += [] if found_homes is None else [f"{folder}/{HOMES_MARKER}"]
        count = inside["directories"] if inside else 0
        return cls(
            deployment, tuple(resources), homes, tuple(markers), tuple(folders), count, size, tuple(kept), beside
        )

    def lines(self) -> Iterator[str]:
        """What is deleted, for people."""
        machine, state = self.deployment.machine.name, self.deployment.layout.state
        yield f"From {machine} this is deleted, and cannot be had back:"
        if str(state) in self.folders:
            yield f"  {counted(self.inside, 'home')}, the database, settings, certificates, logs, generations:"
            yield f"    {state} ({_amount(self.size)})"
        if self.homes:
            yield f"  {counted(len(self.homes), 'home')} elsewhere ({_amount(sum(self.homes.values()))}):"
            yield from (f"    {path}" for path in self.homes)
        yield from _counts(self.resources)
        for one in self.beside:
            if one.resources or one.folders:
                yield f"And from {one.machine.name}:"
                yield from (f"  certificates, settings: {path}" for path in one.folders)
                yield from _counts(one.resources)
        yield from (f"  stays: {line}" for line in self.kept)
        yield "  stays: the Docker engine, images that others made, and who had which user id"

    def delete(self) -> None:
        """Stop what runs, and delete it all. The directory of the hub goes last: with it goes what is known of it."""
        machine, store = self.deployment.machine, self.deployment.machine.store
        self.deployment.parts.stop()
        for one in self.beside:
            # Before the hub's machine, with which goes what is known of these.
            _remove(one.machine, one.resources)
            for path in one.folders:
                say(f"deleting {path} on {one.machine.name}")
                one.machine.store.erase(path)
        _remove(machine, self.resources)
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
        _ask_for(hub)
    with deployment.machine.hold(str(state)):
        doomed.delete()
    say(f"Hub {hub} is gone from {names}.")


def _ask_for(hub: str) -> None:
    if not sys.stdin.isatty():
        remedy = as_typed(f"hubfleet down --delete-data --yes-delete {hub}")
        raise CancelledError_("there is nobody to ask", state="Nothing was deleted", remedy=remedy)
    try:
        typed = out.input("To delete all this, type the hub's name: ").strip()
    except EOFError:
        typed = ""
    if typed != hub:
        raise CancelledError_("That is not its name", state="Nothing was deleted")


def _remove(machine: Machine, resources: Iterable[Resource]) -> None:
    for item in resources:
        change = item.removal(machine.observe([item])[item.id])
        if change is not None:
            say(f"removing {item.title}")
            machine.apply(change, lambda text: None)


def _counts(resources: Sequence[Resource]) -> Iterator[str]:
    for kind in _KINDS:
        found = [item for item in resources if isinstance(item, kind)]
        if found:
            yield f"  {counted(len(found), kind.kind)}: {', '.join(item.key for item in found)}"


def _folders(machine: Machine, layout: Layout) -> tuple[list[str], int]:
    """The hub's directories there, and the bytes of its state. Raises CheckError where something is in the way."""
    folders, size = [], 0
    beside = [str(layout.trial.run), str(layout.trial.state)]  # of a trial that was killed
    for path in dict.fromkeys([*beside, str(layout.run), str(layout.state)]):
        found = machine.store.measure(path)
        if found is None:
            continue
        if found["link"] or found["mounted"]:
            why = f"is mounted in {path}: {', '.join(found['mounted'])}" if found["mounted"] else ""
            raise CheckError(
                f"something {why}" if why else f"{path} is a link, or leads by one",
                where=machine.name,
                state="Nothing was deleted",
                remedy="umount it, then the same command again" if why else f"delete what is in {path} by hand",
            )
        size += found["bytes"] if path == str(layout.state) else 0
        folders.append(path)
    return folders, size


def _known(generations: Generations) -> dict[str, list[Resource]]:
    """By machine, all that any generation made, or may have left; less what a deletion that was killed has taken the
    record of."""
    found: dict[str, dict[str, Resource]] = {}

    def add(machines: Mapping[str, Iterable[Resource]]) -> None:
        for name, items in machines.items():
            found.setdefault(name, {}).update({item.id: item for item in items})

    for number in generations.numbers():
        with contextlib.suppress(ApplyError):
            add(generations.read(number))
    with contextlib.suppress(ApplyError):
        add(generations.known().resources)
    return {name: list(items.values()) for name, items in found.items()}


def _others(deployment: Deployment) -> list[Resource]:
    """What other hubs of the machine have."""
    base, store = deployment.layout.base, deployment.machine.store
    found: list[Resource] = []
    for name in store.names(str(base)):
        if name == deployment.config.hub or (measured := store.measure(str(base / name / "generations"))) is None:
            continue
        if not measured["link"]:
            known = _known(Generations(base / name, store))
            found += [item for items in known.values() for item in items]
    return found


def _there(
    deployment: Deployment, machine: Machine, known: list[Resource], others: set[str]
) -> tuple[list[Resource], list[str]]:
    """Those that are there and are this hub's alone, in the order in which they can go; and what stays."""
    try:
        wanted = deployment.desired().machines.get(machine.name, ())
        named = [item for item in wanted if not isinstance(item, Image)]
    except HubfleetError:
        named = []
    merged = {item.id: item for item in [*named, *known] if isinstance(item, _KINDS)}
    seen = machine.observe(list(merged.values()))
    present = [item for item in merged.values() if seen[item.id]]
    shared = [item for item in present if item.id in others]
    kept = [f"{item.title}, which another hub has too" for item in shared]
    mine = [item for item in present if item.id not in others]
    return [item for kind in _KINDS for item in mine if isinstance(item, kind)], kept


def _homes(resources: list[Resource]) -> list[str]:
    """The directories of homes among resources: those with our marker."""
    paths = [Path(item.path) for item in resources if isinstance(item, File)]
    return [str(path.parent) for path in paths if path.name == HOMES_MARKER]


def _outside(deployment: Deployment, folder: str, shared: bool) -> tuple[str, dict[str, int] | None]:
    """What of a directory of homes stays, or ""; and the homes in it that are this hub's people's, with bytes: None
    where the directory is not this hub's.

    Somebody else's directories may be beside them. A home is one that has the name and the user id of a person of
    this hub; where another hub has the same directory, whose homes are whose is not certain.
    """
    store, hub = deployment.machine.store, deployment.config.hub
    place = store.measure(folder)
    if place is None:
        return "", None
    if place["link"]:
        return f"{folder}, which is a link or leads by one", None
    if store.read(f"{folder}/{HOMES_MARKER}") != f"Homes of hub {hub}.\n":
        return f"{folder}, which has no marker of this hub", None
    if shared:
        return f"{folder}, where another hub has its homes too", None
    table: dict[str, int] = json.loads(store.read(str(deployment.layout.uids)) or "{}")
    homes = {}
    for name in store.names(folder):
        uid, found = table.get(f"{hub}/{name}"), None
        if uid is not None:
            found = store.measure(f"{folder}/{name}")
        if found and found["owner"] == uid and not found["link"] and not found["mounted"]:
            homes[f"{folder}/{name}"] = int(found["bytes"])
    left = [name for name in store.names(folder) if f"{folder}/{name}" not in homes and name != HOMES_MARKER]
    why = f"{folder}: {', '.join(left[:5])}{' ...' if len(left) > 5 else ''}, not this hub's" if left else ""
    return why, homes


def _amount(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
