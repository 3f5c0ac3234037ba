"""Machines that a hub has drained: they get no more servers of this hub, and who is on them goes on. Pure.

Each has a label of this hub's. It is read when a server is asked for, and the machines are then named one by one to the
swarm: where that is asked for a label, it ends every task of a machine whose labels change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hubfleet.engines.swarm.places import DRAINED, MACHINE, YES, label
from hubfleet.engines.swarm.specification import Settings
from hubfleet.engines.swarm.tasks import machines_for
from hubfleet.launcher.base import StartFailed

_NO_ROOM = "insufficient resources"
Node = Mapping[str, Any]


def open_to(settings: Settings) -> tuple[str, ...]:
    """What a machine has to be to get another server, in the engine's words."""
    return (*settings.placement, f"node.labels.{label(settings.layout.hub, DRAINED)}!={YES}")


def is_drained(settings: Settings, node: Node | None) -> bool:
    """One that nothing is known of is not."""
    return node is not None and _label(settings, node, DRAINED) == YES


def closed(settings: Settings, nodes: Iterable[Node]) -> list[str]:
    """Ids of the machines that another server is not to come to. Raises StartFailed where no other one is left."""
    mine = machines_for(nodes, settings.placement)
    drained = [node for node in mine if is_drained(settings, node)]
    if drained and len(drained) == len(mine):
        names = _names(settings, drained)
        again = f"An administrator can have one take servers again: hubfleet machine add {names[0]}"
        raise StartFailed(f"no machine takes new servers now: {_said(names)}. {again}")
    return [str(node["ID"]) for node in drained]


def no_room(settings: Settings, nodes: Iterable[Node], why: str) -> str:
    """What is told to whose server no machine takes. ``why``: in the engine's words."""
    drained = _names(settings, [node for node in nodes if is_drained(settings, node)])
    words = [f"no machine has room for the server now: {why}"]
    if drained:
        words.append(f"{_said(drained)}, so no new servers come there")
    if _NO_ROOM in why:
        words.append("Please try again later, or choose a smaller profile")
    else:
        words.append("An administrator has to look at the machines: hubfleet status")
    return ". ".join(words)


def _label(settings: Settings, node: Node, what: str) -> str | None:
    found: str | None = (node["Spec"].get("Labels") or {}).get(label(settings.layout.hub, what))
    return found


def _names(settings: Settings, nodes: Iterable[Node]) -> list[str]:
    """As in the file; of one that has no name there, that which it has itself."""
    return sorted(_label(settings, node, MACHINE) or str(node["Description"]["Hostname"]) for node in nodes)


def _said(names: Sequence[str]) -> str:
    together = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"{together} {'is' if len(names) == 1 else 'are'} drained"
