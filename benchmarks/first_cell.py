"""From the press on Start to the first output of a cell, for one person; and what a server with an idle kernel holds.

    .venv/bin/python benchmarks/first_cell.py --json

prints, among others, `ratio_first_output` (one person, idle machine) and `ratio_memory_kernel` (PSS of a server with
one idle kernel, some people at once): how many times less ours is. `failed`: people ours failed.
"""

from __future__ import annotations

import argparse
from typing import Any

from hubfleet.loadtest import Scenario
from measure import KERNEL, LIMIT_S, STEP_LIMIT_S, STOCK_SERVER, fitting, medians, p50, ratio, rounds, row, script
from peers import Hubs

IDLE_S = 3.0


def measure(found: Hubs, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about first cells."""
    options = fitting(options, STOCK_SERVER + KERNEL)
    peers = found.all
    limits: dict[str, Any] = {"step_limit_s": STEP_LIMIT_S, "limit_s": LIMIT_S}
    singles = rounds(peers, Scenario(1, idle_s=0, lab=False, **limits), options.rounds, options.quick)
    classes = rounds(peers, Scenario(options.users, idle_s=IDLE_S, lab=False, **limits), 1, options.quick)
    output = medians(singles, peers, p50("first_output_s"))
    memory = medians(classes, peers, lambda one: one["memory"])
    made = singles + classes
    failed = [sum(one["failed"] for one in made if one["hub"] == peer.name) for peer in peers]
    return {
        "users": options.users,
        "ratio_first_output": ratio(output),
        "ratio_memory_kernel": ratio(memory),
        "failed": failed[0],
        "rows": [
            row("one person: click to first output of a cell", "s", output),
            row("server and idle kernel: PSS", "MB", memory),
            {**row("  failed, all rounds", "", failed), "ratio": None},
        ],
        "rounds": made,
    }


if __name__ == "__main__":
    script(__doc__, measure, users=10, rounds=5)
