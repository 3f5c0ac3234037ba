"""Makes a plan: observes all machines at once, and compares."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType

from hubfleet.errors import CheckError, HubfleetError
from hubfleet.machines import Machine
from hubfleet.plan.model import Desired, Manifest, Plan
from hubfleet.resources import Change, Observed, Resource, fingerprint
from hubfleet.resources.base import Action


def make_plan(
    desired: Desired,
    machines: Mapping[str, Machine],
    previous: Manifest,
    kept: Mapping[str, Container[str]] = MappingProxyType({}),
) -> Plan:
    """The changes that lead from what the machines have to `desired`. Changes nothing.

    previous: `Generations.known()`; of what it has and `desired` has not, files, processes and unused
              environments are removed, directories and accounts stay.
    kept:     by machine, ids of what is not removed either: what a rollback would need, or what still serves.
    Raises CheckError where no change could lead there, HubfleetError if a machine cannot be observed.
    """
    names = [name for name in dict.fromkeys([*desired.machines, *previous.resources]) if name in machines]
    missing = [name for name in desired.machines if name not in machines]
    if missing:
        raise HubfleetError(f"no way to reach machine {', '.join(missing)}")
    wanted = [desired.machines.get(name, ()) for name in names]
    earlier = [previous.resources.get(name, ()) for name in names]
    with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        keeps: list[Container[str]] = [kept.get(name, frozenset()) for name in names]
        parts = list(pool.map(_compare, keeps, [machines[name] for name in names], wanted, earlier))
    parts = _with_followers(parts, dict(zip(names, wanted, strict=True)))
    gone = [name for name in previous.resources if name not in machines]
    return Plan(
        hub=desired.hub,
        changes=tuple((part.machine, change) for part in parts for change in part.changes),
        notes=(
            *desired.notes,
            *(f"{name} is no longer among the machines; what is on it stays there" for name in gone),
            *(note for part in parts for note in part.notes),
        ),
        desired=desired,
        leftovers=tuple((part.machine, resource) for part in parts for resource in part.leftovers),
        base=previous.number,
    )


@dataclass(frozen=True)
class _Part:
    machine: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    leftovers: tuple[Resource, ...]


def _compare(
    kept: Container[str], machine: Machine, wanted: tuple[Resource, ...], earlier: tuple[Resource, ...]
) -> _Part:
    wanted_ids = {resource.id for resource in wanted}
    if len(wanted_ids) != len(wanted):
        raise HubfleetError(f"a resource is there twice on {machine.name}")
    unwanted = tuple(resource for resource in reversed(earlier) if resource.id not in wanted_ids)
    try:
        observed = machine.observe([*wanted, *unwanted])
    except OSError as error:
        raise CheckError(
            f"{error.filename} cannot be looked at: {error.strerror}", remedy="run the same command with sudo"
        ) from error
    leftovers = tuple(item for item in unwanted if item.removable and not item.absent(observed[item.id]))
    first = [item for item in leftovers if item.removed_first and item.id not in kept]
    last = [item for item in leftovers if not item.removed_first and item.id not in kept]
    changes = [
        *(_seen(item.removal(observed[item.id]), observed) for item in first),
        *(_seen(item.diff(observed[item.id]), observed) for item in wanted),
        *(_seen(item.removal(observed[item.id]), observed) for item in last),
    ]
    notes = tuple(_notes([item for item in unwanted if item.id not in kept], observed))
    return _Part(machine.name, tuple(change for change in changes if change), notes, leftovers)


def _with_followers(parts: list[_Part], wanted: Mapping[str, tuple[Resource, ...]]) -> list[_Part]:
    """The same, with what follows changes on other machines (`Resource.follows`), and what follows that."""
    changed = {(part.machine, change.resource.id, change.action) for part in parts for change in part.changes}
    more = [_with_own(part, wanted[part.machine], changed) for part in parts]
    return parts if more == parts else _with_followers(more, wanted)


def _with_own(part: _Part, wanted: tuple[Resource, ...], changed: Set[tuple[str, str, Action]]) -> _Part:
    changes = list(part.changes)
    for item in wanted:
        if not changed.isdisjoint(item.follows) and not any(change.resource.id == item.id for change in changes):
            change = item.followed()
            stage = item.stage(change.action)
            later = (place for place, other in enumerate(changes) if other.resource.stage(other.action) > stage)
            changes.insert(next(later, len(changes)), change)
    return replace(part, changes=tuple(changes))


def _seen(change: Change | None, observed: Mapping[str, Observed | None]) -> Change | None:
    if change is None:
        return None
    resource = change.resource
    return replace(change, seen=fingerprint(resource, observed[resource.id]))


def _notes(unwanted: Sequence[Resource], observed: Mapping[str, Observed | None]) -> Iterator[str]:
    for resource in unwanted:
        now = observed[resource.id]
        if resource.absent(now):
            continue
        if not resource.removable:
            yield f"{resource.title} is no longer used; it is kept, remove it yourself if you wish"
        elif resource.removal(now) is None:
            yield f"{resource.title} is still in use; it is removed later, when nothing runs from it"
