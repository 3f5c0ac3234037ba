"""What on a machine is a hub's: what any of its deployments made, its directories, and the homes of its people."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path

from hubfleet.cli.carry import Deployed
from hubfleet.cli.deployment import Deployment
from hubfleet.errors import ApplyError, CheckError, HubfleetError
from hubfleet.homes import ARCHIVED, HOMES_MARKER
from hubfleet.layout import OWNERS, Layout
from hubfleet.machines import Machine
from hubfleet.names import system_name
from hubfleet.plan import Generations
from hubfleet.resources import (
    Account,
    Comeback,
    Container,
    Directory,
    Disk,
    Export,
    File,
    Firewall,
    Image,
    ImageGiven,
    ImageTaken,
    Network,
    Opening,
    Resource,
    SwarmManager,
    SwarmMember,
    SwarmNode,
    Volumes,
)
from hubfleet.resources.dockerengine import STOPPED

_OURS = ".hubfleet-"
"""How the names of our own files among homes begin."""
KINDS = (
    Comeback,
    Container,
    Volumes,
    Export,
    Disk,
    SwarmNode,
    Opening,
    Firewall,
    Network,
    SwarmMember,
    SwarmManager,
    ImageTaken,
    Image,
    Account,
)
"""What a hub has outside its own directory, in the order in which it can go."""


def less_kept(resources: Iterable[Resource], kept: Sequence[str]) -> Iterator[Resource]:
    """Less disks with something on them that stays, by the lines about that."""
    for item in resources:
        stays = isinstance(item, Disk) and any(line.startswith((f"{item.path}:", f"{item.path},")) for line in kept)
        if not stays:
            yield item


def own_folders(machine: Machine, layout: Layout, resources: Iterable[Resource]) -> tuple[list[str], int]:
    """The hub's directories there, and the bytes of its state. Raises CheckError where something is in the way.

    ``resources``: those that go before; a disk among them is not in the way.
    """
    disks = {item.path for item in resources if isinstance(item, Disk)}
    folders, size = [], 0
    beside = [str(layout.trial.run), str(layout.trial.state)]  # of a trial that was killed
    for path in dict.fromkeys([*beside, str(layout.run), str(layout.state)]):
        found = machine.store.measure(path)
        if found is None:
            continue
        mounted = [place for place in found["mounted"] if place not in disks]
        if found["link"] or mounted:
            why = f"is mounted in {path}: {', '.join(mounted)}" if mounted else ""
            raise CheckError(
                f"something {why}" if why else f"{path} is a link, or leads by one",
                where=machine.name,
                state="Nothing was deleted",
                remedy="umount it, then the same command again" if why else f"delete what is in {path} by hand",
            )
        size += found["bytes"] if path == str(layout.state) else 0
        folders.append(path)
    return folders, size


def ever_made(generations: Generations) -> dict[str, list[Resource]]:
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


def of_others(deployment: Deployed) -> list[Resource]:
    """What other hubs of the machine have."""
    base, store = deployment.layout.base, deployment.machine.store
    found: list[Resource] = []
    for name in store.names(str(base)):
        if name == deployment.layout.hub or (measured := store.measure(str(base / name / "generations"))) is None:
            continue
        if not measured["link"]:
            known = ever_made(Generations(base / name, store))
            found += [item for items in known.values() for item in items]
    return found


def still_there(
    deployment: Deployed, machine: Machine, known: list[Resource], others: set[str]
) -> tuple[list[Resource], list[str]]:
    """Those that are there and are this hub's alone, in the order in which they can go; and what stays."""
    try:
        wanted = deployment.desired().machines.get(machine.name, ())
        named = [item for item in wanted if not isinstance(item, Image)]
    except HubfleetError:
        named = []
    merged = {item.id: item for item in map(_here, [*named, *known]) if isinstance(item, KINDS)}
    seen = machine.observe(list(merged.values()))
    made = {item.id for item in map(_here, known)}
    # Of what an engine holds that does not run, nobody can say whether it is there: what was never made is not.
    doubtful = {name for name, observed in seen.items() if observed == STOPPED} - made
    present = [item for item in merged.values() if not item.absent(seen[item.id]) and item.id not in doubtful]
    shared = [item for item in present if item.id in others and not _labelled(item)]
    kept = [f"{item.title}, which another hub has too" for item in shared]
    mine = [item for item in present if item not in shared]
    return [item for kind in KINDS for item in mine if isinstance(item, kind)], kept


def _here(item: Resource) -> Resource:
    """What a machine itself has of it: of an image that it gave to a registry, the name that it has there."""
    return ImageTaken(item.reference) if isinstance(item, ImageGiven) else item


def _labelled(item: Resource) -> bool:
    """Whether each hub has labels of its own on it, which say nothing of another's."""
    return isinstance(item, SwarmNode)


def folders_elsewhere(machine: Machine, layout: Layout, known: Iterable[Resource], others: Set[str]) -> list[str]:
    """Directories that were made for the hub outside its own ones, with nothing in them but its files: what an engine
    knows a registry by. ``others``: ids of what other hubs have."""
    files: dict[str, set[str]] = {}
    for item in known:
        if isinstance(item, File) and item.id not in others and not Path(item.path).is_relative_to(layout.base):
            files.setdefault(str(Path(item.path).parent), set()).add(Path(item.path).name)
    made = {item.path for item in known if isinstance(item, Directory)}
    found = []
    for folder, names in files.items():
        there = set(machine.store.names(folder)) if folder in made else set()
        if there and there <= names and not any(name.startswith(_OURS) for name in there):
            found.append(folder)
    return found


def with_homes(resources: list[Resource]) -> list[str]:
    """The directories of homes among resources: those with our marker."""
    paths = [Path(item.path) for item in resources if isinstance(item, File)]
    return [str(path.parent) for path in paths if path.name == HOMES_MARKER]


def homes_inside(machine: Machine, layout: Layout) -> int:
    """How many homes are in the hub's directory there."""
    found = machine.store.measure(str(layout.homes))
    return int(found["directories"]) if found else 0


def homes_elsewhere(
    deployment: Deployment, machine: Machine, known: list[Resource], theirs: set[str]
) -> tuple[dict[str, int], tuple[str, ...], list[str]]:
    """A machine's homes outside the hub's directory, with bytes; markers of directories of homes; and what stays.

    theirs: directories of other hubs' homes.
    """
    homes: dict[str, int] = {}
    markers: list[str] = []
    kept: list[str] = []
    configured = [str(deployment.homes)] if deployment.homes and machine is deployment.homes_machine else []
    for folder in dict.fromkeys([*with_homes(known), *configured]):
        if folder == str(deployment.layout.homes):
            continue
        why, found = _outside(deployment, machine, folder, folder in theirs)
        homes.update(found or {})
        kept += [why] if why else []
        ours = [item.path for item in known if isinstance(item, File) and str(Path(item.path).parent) == folder]
        markers += [] if found is None else dict.fromkeys([f"{folder}/{HOMES_MARKER}", *ours])
    return homes, tuple(markers), kept


def _outside(deployment: Deployment, machine: Machine, folder: str, shared: bool) -> tuple[str, dict[str, int] | None]:
    """What of a directory of homes stays, or ""; and the homes in it that are this hub's people's, with bytes: None
    where the directory is not this hub's.

    Somebody else's directories may be beside them. A home is one that has the name and the user id of a person of
    this hub; where another hub has the same directory, whose homes are whose is not certain.
    """
    store, hub = machine.store, deployment.config.hub
    place = store.measure(folder)
    if place is None:
        return "", None
    if place["link"]:
        return f"{folder}, which is a link or leads by one", None
    if store.read(f"{folder}/{HOMES_MARKER}") != f"Homes of hub {hub}.\n":
        return f"{folder}, which has no marker of this hub", None
    if shared:
        return f"{folder}, where another hub has its homes too", None
    table = _ids(deployment)
    homes = {}
    for name in store.names(folder):
        uid, found = table.get(name), None
        if uid is not None:
            found = store.measure(f"{folder}/{name}")
        if found and found["owner"] == uid and not found["link"] and not found["mounted"]:
            homes[f"{folder}/{name}"] = int(found["bytes"])
    if put_away := store.measure(f"{folder}/{ARCHIVED}"):
        homes[f"{folder}/{ARCHIVED}"] = int(put_away["bytes"])
    left = [name for name in store.names(folder) if f"{folder}/{name}" not in homes and not name.startswith(_OURS)]
    why = f"{folder}: {', '.join(left[:5])}{' ...' if len(left) > 5 else ''}, not this hub's" if left else ""
    return why, homes


def _ids(deployment: Deployment) -> dict[str, int]:
    """The user ids of this hub's people, by the name of their home: those that it handed out, and over these what the
    launcher has noted of a service that knows them. An id that all have tells nobody from others."""
    store, beginning = deployment.machine.store, f"{deployment.config.hub}/"
    handed_out: dict[str, int] = json.loads(store.read(str(deployment.layout.uids)) or "{}")
    told: dict[str, dict[str, int]] = json.loads(store.read(str(deployment.layout.launcher_dir / OWNERS)) or "{}")
    own = {name.removeprefix(beginning): uid for name, uid in handed_out.items() if name.startswith(beginning)}
    return {**own, **{system_name(user): one["uid"] for user, one in told.items()}}
