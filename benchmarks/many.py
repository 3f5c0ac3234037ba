"""How a class's time grows with its size: ours alone, with more people than stock JupyterHub has memory for.

    .venv/bin/python benchmarks/many.py --users 220 --json
    taskset -c 0,1 .venv/bin/python benchmarks/many.py --users 220        # on two processors

prints `ratio_more`: how many times as long 220 people wait together as FEWER do. `failed`: people ours failed.
"""

from __future__ import annotations

import argparse
from typing import Any

from hubfleet.loadtest import Scenario
from measure import LIMIT_S, STEP_LIMIT_S, median, p50, ratio, rounds, row, script
from peers import Hubs

FEWER = 100


def measure(found: Hubs, options: argparse.Namespace) -> dict[str, Any]:
    """By turns a class of FEWER and one of as many as are wanted, so that a machine that gets slower slows both."""
    limits: dict[str, Any] = {"step_limit_s": STEP_LIMIT_S, "limit_s": LIMIT_S, "lab": False, "kernel": False}
    sizes = (min(FEWER, options.users), options.users)
    pairs = []
    for number in range(1, options.rounds + 1):
        played = [rounds(found.all, Scenario(people, idle_s=0, **limits), 1, options.quick)[0] for people in sizes]
        pairs.append([{**one, "round": number} for one in played])
    made = [one for pair in pairs for one in pair]
    more = median(ratio([one["wall_s"] for one in pair]) for pair in pairs)
    failed = sum(one["failed"] for one in made)
    rows = []
    for people, each in zip(sizes, zip(*pairs, strict=True), strict=True):
        rows.append(row(f"{people} people at once: all ready", "s", [median(one["wall_s"] for one in each)]))
        rows.append(row("  the middle one ready", "s", [median(map(p50("ready_s"), each))]))
    return {
        "users": options.users,
        "ratio_more": more,
        "failed": failed,
        "rows": [
            *rows,
            row("  how many times as long, median of rounds", "times", [more]),
            row("  of them failed, all rounds", "", [failed]),
        ],
        "rounds": made,
    }


if __name__ == "__main__":
    script(__doc__, measure, users=220, rounds=3, alone=True)
