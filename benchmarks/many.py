"""How a class's time grows with its size: ours alone, with more people than stock JupyterHub has memory for.

    .venv/bin/python benchmarks/many.py --users 220 --json
    taskset -c 0,1 .venv/bin/python benchmarks/many.py --users 220        # on two processors

prints `ratio_more`: how many times as long 220 people wait together as FEWER do. `failed`: people ours failed.
"""

from __future__ import annotations

import argparse
from typing import Any

from hubfleet.loadtest import Scenario
from measure import LIMIT_S, STEP_LIMIT_S, medians, ratio, rounds, row, script
from peers import Hubs

FEWER = 100


def measure(found: Hubs, options: argparse.Namespace) -> dict[str, Any]:
    """A class of FEWER, and one of as many as are wanted."""
    limits: dict[str, Any] = {"step_limit_s": STEP_LIMIT_S, "limit_s": LIMIT_S, "lab": False, "kernel": False}
    made, walls = [], []
    for people in (min(FEWER, options.users), options.users):
        played = rounds(found.all, Scenario(people, idle_s=0, **limits), options.rounds, options.quick)
        walls += medians(played, found.all, lambda one: one["wall_s"])
        made += played
    failed = sum(one["failed"] for one in made)
    return {
        "users": options.users,
        "ratio_more": ratio(walls),
        "failed": failed,
        "rows": [
            row(f"{min(FEWER, options.users)} people at once: all ready", "s", walls[:1]),
            row(f"{options.users} people at once: all ready", "s", walls[1:]),
            row("  how many times as long", "times", [ratio(walls)]),
            row("  of them failed, all rounds", "", [failed]),
        ],
        "rounds": made,
    }


if __name__ == "__main__":
    script(__doc__, measure, users=220, rounds=3, alone=True)
