"""Rounds that alternate between hubs, medians and ratios of them, and what the machine was doing meanwhile."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import psutil

from hubfleet.errors import HubfleetError
from hubfleet.loadtest import Result, Scenario, run
from peers import Hubs, Peer, hubs

STOCK_SERVER = 125 * 1024**2
"""What a server of stock JupyterHub takes at most while it starts and idles, for the decision whether N of them fit."""
OUR_SERVER = 40 * 1024**2
KERNEL = 60 * 1024**2
SPARE = 2 * 1024**3
IDLE_SHARE, IDLE_LIMIT_S = 0.15, 20
STEP_LIMIT_S, LIMIT_S = 600.0, 900.0

Measurement = Callable[[Hubs, argparse.Namespace], dict[str, Any]]


# -- what a script is made of -----------------------------------------------------------------------------------------


def parser(description: str | None, users: int, rounds: int, alone: bool = False) -> argparse.ArgumentParser:
    """The options that all have. ``users``: how many people, where they fit into memory. ``alone``: without stock."""
    made = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    made.add_argument("--users", type=int, metavar="N", help=f"how many people (default: {users}, or as many as fit)")
    made.add_argument("--rounds", type=int, default=rounds, metavar="R", help=f"of each hub (default: {rounds})")
    made.set_defaults(stock="none")
    if not alone:
        kinds = ("tuned", "defaults", "both")
        made.add_argument("--stock", choices=kinds, default="tuned", help="which stock JupyterHub")
    made.add_argument("--json", action="store_true", help="print JSON instead of a table")
    made.add_argument("--quick", action="store_true", help="one round of each: does it work at all?")
    made.set_defaults(usual_users=users)
    return made


def script(description: str | None, measurement: Measurement, users: int, rounds: int, alone: bool = False) -> None:
    """A whole script: options, hubs, measurement, output."""
    each = OUR_SERVER if alone else STOCK_SERVER
    options = fitting(parser(description, users, rounds, alone).parse_args(), each)
    document = measured(options, {"": measurement})[""]
    print(json.dumps(document, indent=1) if options.json else table(document))


def fitting(options: argparse.Namespace, each: int = STOCK_SERVER) -> argparse.Namespace:
    """The options with a number of people that fits into memory. Ends the program where a wanted number does not."""
    room = max(1, (psutil.virtual_memory().available - SPARE) // each)
    if options.users is not None and not 1 <= options.users <= room:
        size = f"{each / 1024**2:.0f} MB"
        sys.exit(f"{room} servers of {size} fit into this machine's free memory, not {options.users}")
    options.users = options.users or min(options.usual_users, room)
    options.rounds = 1 if options.quick else max(1, options.rounds)
    return options


def measured(options: argparse.Namespace, measurements: Mapping[str, Measurement]) -> dict[str, dict[str, Any]]:
    """Each measurement's document, all on the same hubs."""
    about = {"began": time.strftime("%Y-%m-%d %H:%M:%S"), "machine": machine()}
    try:
        with hubs(options.stock) as found:
            # Files come into the machine's cache, and the fork server is loaded.
            for peer in () if options.quick else found.all:
                _note(f"{peer.name}: warming up")
                play(peer, Scenario(1, idle_s=0))
            about |= {"versions": dict(found.versions), "stock": [peer.name for peer in found.stock]}
            return {name: {**measure(found, options), **about} for name, measure in measurements.items()}
    except HubfleetError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


# -- rounds -----------------------------------------------------------------------------------------------------------


def play(peer: Peer, scenario: Scenario) -> Result:
    """One class, with limits, and nothing left of it."""
    result = run(peer.target, scenario)
    if result.cleanup:
        sys.exit(f"{peer.name}: {'; '.join(result.cleanup)}")
    return result


def rounds(peers: Sequence[Peer], scenario: Scenario, count: int, quick: bool = False) -> list[dict[str, Any]]:
    """So many classes at each hub, by turns, every second time the other way round."""
    made = []
    for number in range(count):
        for peer in peers if number % 2 == 0 else reversed(peers):
            busy = wait_until_idle(quick)
            _note(f"{peer.name}: {scenario.people} people, round {number + 1} of {count}")
            made.append({"hub": peer.name, "round": number + 1, "busy_before": busy, **figures(play(peer, scenario))})
    return made


def wait_until_idle(quick: bool = False) -> float:
    """Wait until the machine has little to do, but not for long; returns how many of its cores are busy."""
    deadline = time.monotonic() + (0 if quick else IDLE_LIMIT_S)
    while True:
        share = psutil.cpu_percent(interval=1) / 100
        if share < IDLE_SHARE or time.monotonic() > deadline:
            return round(share * (psutil.cpu_count() or 1), 2)


def figures(result: Result) -> dict[str, Any]:
    """A class in numbers: seconds, bytes; None for what cannot be known because somebody failed."""
    watched, times = result.watched, result.times()
    assert watched is not None
    count = len(result.people)
    pss = result.pss_per_person()
    return {
        "people": count,
        "failed": len(result.failed),
        "failures": [f"{step}: {reason} ({number})" for step, reason, number in result.reasons()],
        "broken_off": result.broken_off,
        "wall_s": result.wall("start"),
        "ready_s": times.get("ready"),
        "first_output_s": times.get("first_output"),
        "memory": statistics.mean(pss) if pss else None,
        "memory_of_parts": {name: after for name, (_, after) in watched.parts_pss.items()},
        "cpu_s_per_start": {
            "servers": sum(footprint.cpu_s for footprint in watched.people.values()) / count,
            **{name: seconds / count for name, seconds in watched.parts_cpu_s.items()},
        },
        "not_measured": watched.not_measured,
        "client_saturated": result.client_saturated(),
        "others_busy": result.others_busy(),
    }


# -- sums -------------------------------------------------------------------------------------------------------------


def median(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def medians(made: list[dict[str, Any]], peers: Sequence[Peer], figure: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """The median of a figure for each hub, in their order."""
    return [median(figure(one) for one in made if one["hub"] == peer.name) for peer in peers]


def ratio(values: Sequence[float | None]) -> float | None:
    """How many times less ours (the first) is than the second."""
    ours, *stock = values
    return round(stock[0] / ours, 2) if ours and stock and stock[0] else None


def p50(figure: str) -> Callable[[dict[str, Any]], float | None]:
    """The middle person's time of a round."""
    return lambda one: one[figure]["p50"] if one[figure] else None


def row(text: str, unit: str, values: Sequence[float | None]) -> dict[str, Any]:
    """A line of the table: what it is, its values by hub, and how many times less ours is."""
    return {"what": text, "unit": unit, "values": list(values), "ratio": ratio(values)}


_UNITS = {
    "s": (1.0, "{:.3f} s"),
    "MB": (1024**2, "{:.1f} MB"),
    "ms": (1e-3, "{:.1f} ms"),
    "times": (1, "{:.2f}"),
    "": (1, "{:.0f}"),
}
STOCK = "Stock JupyterHub runs SimpleLocalProcessSpawner: its local spawner, without accounts of the machine."


def table(document: dict[str, Any]) -> str:
    """What a person wants to see of a document."""
    about = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    names = ["hubfleet", *document["stock"]]
    lines = [
        f"{about['cores']} cores, {about['memory'] / 1024**3:.0f} GB, Linux {about['kernel']}, load {about['load'][0]}",
        versions,
        document.get("note", STOCK) if document["stock"] else "Ours alone.",
        "",
        f"{'':44}" + "".join(f"{name:>17}" for name in names) + f"{'ratio':>9}",
    ]
    for line in document["rows"]:
        size, form = _UNITS[line["unit"]]
        cells = ["-" if value is None else form.format(value / size) for value in line["values"]]
        times = "" if line["ratio"] is None else f"{line['ratio']:.1f}"
        lines.append(f"{line['what']:44}" + "".join(f"{cell:>17}" for cell in cells) + f"{times:>9}")
    for warning in warnings(document["rounds"]):
        lines.append(f"Note: {warning}")
    return "\n".join(lines)


def warnings(made: list[dict[str, Any]]) -> list[str]:
    """What makes a run less worth than it looks."""
    found = []
    for one in made:
        for text in (*one.get("failures", ()), one.get("client_saturated"), one.get("others_busy")):
            if text:
                found.append(f"{one['hub']}, round {one['round']}: {text}")
    return found


def machine() -> dict[str, Any]:
    """What the run is made on."""
    return {
        "cores": len(os.sched_getaffinity(0)),  # `taskset` may have left fewer than there are
        "memory": psutil.virtual_memory().total,
        "memory_available": psutil.virtual_memory().available,
        "kernel": platform.release(),
        "system": platform.platform(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "root": os.geteuid() == 0,
    }


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
