"""What is the same for all that is deployed, a hub or another project: to confirm a plan, and to carry it out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from hubfleet.cli.console import confirm, program, report, say, show
from hubfleet.config import Secrets
from hubfleet.layout import Layout
from hubfleet.machines import Machine
from hubfleet.plan import Desired, Event, Generations, Line, Plan, apply_plan, plan_lines, summary

_ROUNDS = 3


class Deployed(Protocol):
    """What a deployment is to whoever changes it."""

    @property
    def machine(self) -> Machine:
        """The one that keeps the records."""

    @property
    def others(self) -> Mapping[str, Machine]:
        """The other machines of the configuration, by name."""

    @property
    def machines(self) -> dict[str, Machine]:
        """All that may be changed."""

    @property
    def layout(self) -> Layout:
        """Where its files are."""

    @property
    def generations(self) -> Generations:
        """The records of earlier deployments."""

    def desired(self) -> Desired:
        """What should be there. Raises CheckError for what is not possible."""

    def plan_for(self, desired: Desired) -> Plan:
        """The changes that lead to `desired`."""


def secrets_of(
    secrets: Secrets, wanted: Mapping[str, str], generate: Callable[[], str]
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Those that are made up if nobody wrote them, as they are; new ones, not yet written; and those that people write.

    wanted: by name, "generate" or "file".
    """
    found = {name: secret.reveal() for name in wanted if (secret := secrets.get(name)) is not None}
    known = {name: text for name, text in found.items() if wanted[name] == "generate"}
    new = {name: generate() for name, how in wanted.items() if how == "generate" and name not in known}
    return known, new, {name: text for name, text in found.items() if name not in known}


def confirm_plan(plan: Plan, yes: bool) -> None:
    """Show it, and ask. Raises CancelledError_."""
    if yes or plan.empty:
        say(f"{plan.hub}: {summary(plan)}", "bold")
        show(Line(f"note: {note}", "note") for note in plan.notes)
        return
    show(plan_lines(plan))
    confirm("Do this?", f"{typed()} --yes")


def make_state(deployment: Deployed) -> None:
    """The directory that holds the lock."""
    state, privileged = deployment.layout.state, deployment.layout.privileged
    for path, mode in ((state.parent, 0o755), (state, 0o711)):
        deployment.machine.store.make_directory(str(path), mode if privileged else 0o700)


def carry_out(deployment: Deployed, plan: Plan, before: Callable[[Event], None] = lambda event: None) -> None:
    """Record a plan, and carry it out. The lock must be held. before: is told of each event first."""
    number = deployment.generations.begin(plan)
    several = len({name for name, _ in plan.changes}) > 1

    def tell(event: Event) -> None:
        before(event)
        report(event, several=several)

    apply_plan(plan, deployment.machines, tell)
    deployment.generations.switch(number)


def tidy_up(plan: Callable[[], Plan], carry: Callable[[Plan], None]) -> None:
    """Remove what was in use when the plan was made, and no longer is: environments, and what people came in by.

    What these were made of is free only when they are gone, so there is more than one round.
    """
    for _ in range(_ROUNDS):
        made = plan()
        if made.empty or any(change.action != "remove" for _, change in made.changes):
            return
        carry(made)


def typed() -> str:
    """The command as it was typed."""
    return shlex.join([*program(), *sys.argv[1:]])


def origin(layout: Layout, machine: Machine) -> str:
    """The configuration file of the last deployment, or ""."""
    return (machine.store.read(str(layout.state / "origin")) or "").strip()


def other_origin(layout: Layout, machine: Machine, file: Path | str, noun: str) -> tuple[str, ...]:
    """That another file has deployed it, as a note."""
    before = origin(layout, machine)
    if not before or before == str(file):
        return ()
    return (f"this {noun} was deployed from {before} before; {noun}s of different files need different names",)
