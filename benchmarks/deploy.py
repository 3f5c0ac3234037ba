"""Bring machines to a state, find that they have it, and plan a change: ours, Ansible and pyinfra by turns.

    .venv/bin/python benchmarks/deploy.py --json

Machines are the tests' own: containers with systemd and sshd (root, docker.io, mmdebstrap and openssh-client needed).
Prints, among others, `ratio_nothing` by number of machines: how many times as long as ours each of the others takes to
find that nothing has to change. Every command is a new process with new connections. All must leave the same state.
At last, ours alone: `hubfleet up` itself, for a hub with engine docker on one machine where nothing has to change.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hubfleet
from controllers import (
    ACCOUNTS,
    ANSIBLE,
    CHANGED,
    OURS,
    PINS,
    PYINFRA,
    ROOT,
    Ansible,
    Controller,
    Ours,
    Pyinfra,
    Reach,
    Verb,
    Wanted,
    wanted,
)
from installed import environment, require, versions
from measure import machine, wait_until_idle

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT / "tests" / name) for name in ("lab", "docker", "local", ".")]

import dockerd  # noqa: E402
import hubs_there  # noqa: E402
import machines  # noqa: E402
import stock  # noqa: E402

NEEDED = {"dockerd": "docker.io", "mmdebstrap": "mmdebstrap", "ssh": "openssh-client"}
FILES_CHANGED = 3
LIMIT_S = 600.0
UPS = 5
"""How often `hubfleet up` is measured."""
STEPS = {
    "first": "first time",
    "nothing": "nothing to change",
    "plan": f"plan, {FILES_CHANGED} files changed",
}
_NAMES = " ".join(f"bench{number}" for number in range(ACCOUNTS))
_RESET = (
    f"rm -rf {ROOT} /var/lib/hubfleet-benchmark; "
    f"for name in {_NAMES}; do userdel $name 2>/dev/null; groupdel $name 2>/dev/null; done; sync; true"
)
_STATE = (
    f"cd {ROOT} && find . -printf '%p %y %m %u %g\\n' | sort && find . -type f -exec sha256sum {{}} + | sort; "
    f"for name in {_NAMES}; do getent passwd $name | cut -d: -f1,5-; id -gn $name; done"
)
"""Everything that is managed, but for the numbers that the system chose."""


def main() -> None:
    """Options, machines, rounds, output."""
    options = _options()
    require(NEEDED)
    document = measure(options)
    print(json.dumps(document, indent=1) if options.json else table(document))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--machines", type=int, nargs="+", default=[1, 4, 8], metavar="N", help="(default: 1 4 8)")
    parser.add_argument("--rounds", type=int, default=1, metavar="R", help="in each ours plays after each (default: 1)")
    parser.add_argument("--ours", action="store_true", help="ours alone")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All numbers of machines, one after the other."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or else the machines would stay
    # As installing does, and as the others have it; where Python is told to write no bytecode, nothing else would.
    compileall.compile_dir(Path(hubfleet.__file__).parent, quiet=1)
    about = {"began": time.strftime("%Y-%m-%d %H:%M:%S"), "machine": machine()}
    known = {"hubfleet": hubfleet.__version__, "python": sys.version.split()[0]}
    ours: list[Controller] = [Ours()]
    others: list[Controller] = []
    if not options.ours:
        programs = environment(PINS)
        known |= versions(programs, [pin.partition("==")[0] for pin in PINS])
        others = [Ansible(programs), Pyinfra(programs)]
    # Ours plays between the others too, so that whatever slows the machine meanwhile slows all.
    turns = [*(one for other in others for one in (*ours, other)), *ours]
    made: list[dict[str, Any]] = []
    with _lab() as lab:
        reach = _machines(lab, max(options.machines))
        for count in options.machines:
            some = Reach(dict(list(reach.addresses.items())[:count]), reach.key, reach.known_hosts, reach.ssh)
            for number in range(options.rounds):
                for controller in turns:
                    made.append({"round": number + 1, **play(controller, some)})
                    took = ", ".join(f"{step} {value:.2f} s" for step, value in made[-1]["seconds"].items())
                    text = f"{controller.name}, {count} machines, round {number + 1}: {took}"
                    print(text, file=sys.stderr, flush=True)
        ups = unchanged(lab)
    names = [controller.name for controller in (*ours, *others)]
    found = summary(made, names, options.machines)
    return {**about, "versions": known, **found, "unchanged_up": ups, "rounds": made}


@contextlib.contextmanager
def _lab() -> Iterator[machines.Lab]:
    # A short name: kept connections are sockets below it.
    with dockerd.shared() as engine, tempfile.TemporaryDirectory(prefix="hfb-", dir="/tmp") as place:
        lab = machines.Lab(engine, Path(place), owner=str(os.getpid()))
        try:
            yield lab
        finally:
            lab.close()


def _machines(lab: machines.Lab, count: int) -> Reach:
    started = [lab.start(f"m{number}") for number in range(1, count + 1)]
    addresses = {one.name: one.address for one in started}
    return Reach(addresses, lab.place / "user", lab.place / "known_hosts", lab.options())


def unchanged(lab: machines.Lab) -> list[float]:
    """Seconds that `hubfleet up` takes to find a hub as it should be, each time as an operator types it."""
    machine = stock.stocked(lab, "hub1")
    command = [sys.executable, "-m", "hubfleet", "up", "--yes"]
    took = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        hubs_there.write_files(folder, machine)
        environ = {**os.environ, "XDG_CACHE_HOME": place}
        for _ in range(UPS + 1):
            wait_until_idle(quick=True)
            began = time.perf_counter()
            done = subprocess.run(
                command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            took.append(time.perf_counter() - began)
            if done.returncode != 0 or (len(took) > 1 and "nothing to change" not in done.stdout):
                raise SystemExit(f"hubfleet up ({done.returncode}):\n{done.stdout}{done.stderr}")
    return took[1:]  # the first one deploys it


def play(controller: Controller, reach: Reach) -> dict[str, Any]:
    """All steps of one, on machines that have nothing: seconds by step, and what the machines have then."""
    usual, changed = wanted(), wanted(FILES_CHANGED)
    everywhere(reach, _RESET)
    steps: dict[str, tuple[Verb, Wanted]] = {
        "first": ("apply", usual),
        "nothing": ("apply", usual),
        "plan": ("plan", changed),
    }
    busy, took = [], {}
    for name, (verb, what) in steps.items():
        busy.append(wait_until_idle(quick=True))
        took[name], said = run(controller, verb, what, reach)
        if name == "plan" and (found := said.count(CHANGED)) < FILES_CHANGED * len(reach.addresses):
            raise SystemExit(f"{controller.name} shows {found} changes of files:\n{said}")
    states = everywhere(reach, _STATE)
    return {
        "controller": controller.name,
        "machines": len(reach.addresses),
        "busy_before": max(busy),
        "seconds": took,
        "states": sorted(set(states)),
    }


def run(controller: Controller, verb: Verb, what: Wanted, reach: Reach) -> tuple[float, str]:
    """One command, in a folder of its own: how long it took and what it said. Ends the program when it fails."""
    with tempfile.TemporaryDirectory(prefix="r", dir=reach.key.parent) as place:
        folder = Path(place)
        command = controller.command(verb, what, reach, folder)
        output = folder / "output"
        with output.open("wb") as said:
            began = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=controller.environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
            # To wait with a time-out would be to look every 50 ms, a tenth of what is measured.
            limit = threading.Timer(LIMIT_S, process.kill)
            limit.start()
            code = process.wait()
            took = time.perf_counter() - began
            limit.cancel()
        for kept in (folder / "cp").glob("*"):
            end = ["ssh", "-F", "none", "-o", f"ControlPath={kept}", "-O", "exit", "none"]
            subprocess.run(end, check=False, capture_output=True)
        text = output.read_text(errors="replace")
        if code != 0:
            raise SystemExit(f"{controller.name} failed ({code}):\n{text[-5000:]}")
        return took, text


def everywhere(reach: Reach, line: str) -> list[str]:
    """What a line for the shell prints on each machine."""

    def ask(address: str) -> str:
        command = ["ssh", "-T", *reach.ssh, "--", f"root@{address}", line]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S).stdout

    with ThreadPoolExecutor(len(reach.addresses)) as pool:
        return list(pool.map(ask, reach.addresses.values()))


# -- sums -------------------------------------------------------------------------------------------------------------


def summary(made: Sequence[dict[str, Any]], names: Sequence[str], counts: Sequence[int]) -> dict[str, Any]:
    """Rows with medians and how many times as long as ours; what is to be looked at first; whether states agree."""
    rows: list[dict[str, Any]] = []
    for count in counts:
        for step, text in STEPS.items():
            values = [_median(made, name, count, step) for name in names]
            times = [round(value / values[0], 1) for value in values[1:]]
            several = "machine" if count == 1 else "machines"
            rows.append(
                {"what": f"{count} {several}: {text}", "step": step, "machines": count}
                | {"values": values, "times": times}
            )
    nothing = {
        name: {row["machines"]: row["times"][place] for row in rows if row["step"] == "nothing"}
        for place, name in enumerate(names[1:])
    }
    states = {state for one in made for state in one.pop("states")}
    return {
        "controllers": list(names),
        "resources": wanted().count,
        "ratio_nothing": nothing,
        "same_state": len(states) == 1,
        "states": sorted(states),
        "rows": rows,
    }


def _median(made: Sequence[dict[str, Any]], name: str, count: int, step: str) -> float:
    chosen: list[float] = [
        one["seconds"][step] for one in made if (one["controller"], one["machines"]) == (name, count)
    ]
    return statistics.median(chosen)


def table(document: dict[str, Any]) -> str:
    """What a person wants to see of a document."""
    about, names = document["machine"], document["controllers"]
    lines = [
        f"{about['cores']} cores, {about['memory'] / 1024**3:.0f} GB, Linux {about['kernel']}, load {about['load'][0]}",
        ", ".join(f"{name} {version}" for name, version in document["versions"].items()),
        f"{document['resources']} resources a machine: accounts, directories, files. Machines are containers here.",
        "",
        f"{'':36}" + "".join(f"{name:>13}" for name in names) + "".join(f"{f'{name}, x':>13}" for name in names[1:]),
    ]
    for row in document["rows"]:
        cells = [f"{value:.2f} s" for value in row["values"]] + [f"{times:.1f}" for times in row["times"]]
        lines.append(f"{row['what']:36}" + "".join(f"{cell:>13}" for cell in cells))
    if ups := document.get("unchanged_up"):
        lines.append(f"{'hubfleet up, nothing to change':36}{f'{statistics.median(ups):.2f} s':>13}")
    lines.append("All left the same state." if document["same_state"] else "Note: they did NOT leave the same state.")
    busy = max(one["busy_before"] for one in document["rounds"])
    if busy > 1:
        lines.append(f"Note: other programs kept up to {busy:.1f} cores busy")
    return "\n".join(lines)


__all__ = ["ANSIBLE", "OURS", "PYINFRA", "measure", "play", "summary", "table"]

if __name__ == "__main__":
    main()
