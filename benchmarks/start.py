"""A class presses Start together, and one person alone: time to ready, memory and hub processor time, ours and stock's.

    .venv/bin/python benchmarks/start.py --users 50 --json

prints, among others, `ratio_wall` (all ready), `ratio_memory` (PSS per idle server), `ratio_memory_opened` (the same
after JupyterLab was opened in each), `ratio_single` (one person, idle machine), `ratio_hub_cpu` (the hub's processor
time per start): how many times less ours is than stock's, tuned if that is played. `failed`: people ours failed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from floor import fork_s, page_s
from hubfleet.loadtest import Scenario
from measure import LIMIT_S, STEP_LIMIT_S, medians, p50, ratio, rounds, row, script
from peers import Hubs

SINGLE_ROUNDS = 3  # for each round of the class
IDLE_S = 3.0


def measure(found: Hubs, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about starts."""
    peers, count, idle_s = found.all, options.rounds, 0.0 if options.quick else IDLE_S
    limits: dict[str, Any] = {"step_limit_s": STEP_LIMIT_S, "limit_s": LIMIT_S}
    alone = Scenario(1, idle_s=0, lab=False, kernel=False, **limits)
    together = Scenario(options.users, idle_s=idle_s, lab=False, kernel=False, **limits)
    opened = Scenario(options.users, idle_s=idle_s, kernel=False, **limits)
    singles = rounds(peers, alone, 1 if options.quick else SINGLE_ROUNDS * count, options.quick)
    classes = rounds(peers, together, count, options.quick)
    visits = rounds(peers[:2], opened, 1, options.quick)
    single = medians(singles, peers, p50("ready_s"))
    wall = medians(classes, peers, lambda one: one["wall_s"])
    memory = medians(classes, peers, lambda one: one["memory"])
    visited = medians(visits, peers, lambda one: one["memory"])
    whole = medians(visits, peers, _whole)
    cpu = medians(classes, peers, lambda one: one["cpu_s_per_start"]["hub"])
    names = {name for one in classes for name in one["cpu_s_per_start"]} - {"hub"}
    parts = {name: medians(classes, peers, _of_part(name)) for name in sorted(names)}
    all_cpu = medians(classes, peers, lambda one: sum(one["cpu_s_per_start"].values()))
    failed = [sum(one["failed"] for one in classes + visits if one["hub"] == peer.name) for peer in peers]
    return {
        "users": options.users,
        "ratio_wall": ratio(wall),
        "ratio_memory": ratio(memory),
        "ratio_memory_opened": ratio(visited),
        "ratio_memory_whole": ratio(whole),
        "ratio_single": ratio(single),
        "ratio_hub_cpu": ratio(cpu),
        "ratio_cpu": ratio(all_cpu),
        "failed": failed[0],
        "rows": [
            row("one person: click to ready", "s", single),
            row(f"{options.users} people at once: all ready", "s", wall),
            {**row("  of them failed, all rounds", "", failed), "ratio": None},
            row("hub: processor time a start", "ms", cpu),
            *(row(f"{part}: processor time a start", "ms", values) for part, values in parts.items()),
            row("everything: processor time a start", "ms", all_cpu),
            {**row("floor: an empty fork", "ms", [fork_s()] * len(peers)), "ratio": None},
            {**row("floor: one page of HTML from the hub", "ms", [page_s(peer) for peer in peers]), "ratio": None},
            row("idle server, just started: PSS", "MB", memory),
            row("idle server, JupyterLab opened: PSS", "MB", visited),
            row("the same and its share of the hub's parts", "MB", whole),
        ],
        "rounds": singles + classes + visits,
    }


def _of_part(name: str) -> Callable[[dict[str, Any]], float | None]:
    """A part's processor time per start; None where a hub has no such part."""
    return lambda one: one["cpu_s_per_start"].get(name)


def _whole(one: dict[str, Any]) -> float | None:
    """A server and its share of hub, proxy, and what else serves all."""
    if one["memory"] is None:
        return None
    return float(one["memory"] + sum(one["memory_of_parts"].values()) / one["people"])


if __name__ == "__main__":
    script(__doc__, measure, users=50, rounds=3)
