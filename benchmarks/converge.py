"""Ours for deploy.py, as one command runs it: a process that brings machines to what is wanted, and ends.

    converge.py plan|apply WANTED.json

It begins to connect and then imports all of the command line, for that is what `hubfleet plan` and `hubfleet up` do
for a configuration that they know. `apply` does what `up` does: it plans, and only where there is something to change
takes the lock, notes a generation and carries it out.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from hubfleet.cli import program
from hubfleet.sshcommand import begin


def main() -> None:
    """Plan or apply; prints the plan."""
    verb, path = sys.argv[1:]
    with open(path, "rb") as file:
        wanted = json.load(file)
    begin([(f"root@{address}", wanted["options"]) for address in wanted["machines"].values()])
    converge(verb, wanted)


def converge(verb: str, wanted: dict[str, Any]) -> None:
    """With connections that are being made."""
    from pathlib import Path

    program()  # an operator's command has it
    from hubfleet.machines import SSHMachine
    from hubfleet.plan import Desired, Generations, apply_plan, make_plan, plan_text
    from hubfleet.resources.registry import from_json

    machines = {
        name: SSHMachine(name, f"root@{address}", wanted["options"]) for name, address in wanted["machines"].items()
    }
    for machine in machines.values():
        machine.open()
    resources = tuple(from_json(one) for one in wanted["resources"])
    state = Path(wanted["state"])
    first = next(iter(machines.values()))
    generations = Generations(state, first.store)
    desired = Desired("bench", state, dict.fromkeys(machines, resources))
    plan = make_plan(desired, machines, generations.known())
    print(plan_text(plan, full=True))
    if verb == "apply" and not plan.empty:
        for folder in (state, state / "generations"):
            first.store.make_directory(str(folder), 0o700)
        with first.hold(str(state)):
            number = generations.begin(plan)
            apply_plan(plan, machines, lambda event: None)
            generations.switch(number)


if __name__ == "__main__":
    main()
