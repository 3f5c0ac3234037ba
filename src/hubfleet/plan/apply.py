"""Carries out a plan: exactly the changes that were shown, in their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from hubfleet.errors import ApplyError, HubfleetError
from hubfleet.machines import Machine
from hubfleet.plan.model import Plan
from hubfleet.resources import Change

Status = Literal["start", "progress", "done", "already done"]


@dataclass(frozen=True)
class Event:
    """Something happened while a plan is carried out.

    number, total: which step of how many, from 1.
    status:        start; progress (`text` has a line for people); done; already done (it was as wanted).
    seconds:       since the step began.
    """

    number: int
    total: int
    machine: str
    change: Change
    status: Status
    text: str = ""
    seconds: float = 0.0


def apply_plan(plan: Plan, machines: Mapping[str, Machine], on_event: Callable[[Event], None]) -> None:
    """Carries out the plan's changes; each is looked at again before and after.

    Hold the lock, and call `Generations.begin` before and `Generations.switch` after it. Raises ApplyError
    at the first step that fails or whose resource changed since the plan; its `state` says what was done
    and what was not. Running the command again carries on from there.
    """
    for number, (name, change) in enumerate(plan.changes, start=1):
        tell = partial(_tell, on_event, Event(number, len(plan.changes), name, change, "start"), time.monotonic())
        tell("start")
        try:
            acted = machines[name].apply(change, partial(tell, "progress"))
        except (HubfleetError, OSError) as error:
            raise _failure(number, plan, error) from error
        tell("done" if acted else "already done")


def _tell(on_event: Callable[[Event], None], begun: Event, started: float, status: Status, text: str = "") -> None:
    on_event(replace(begun, status=status, text=text, seconds=time.monotonic() - started))


def _failure(number: int, plan: Plan, error: HubfleetError | OSError) -> ApplyError:
    machine, change = plan.changes[number - 1]
    if isinstance(error, HubfleetError):
        cause, state, remedy = error.what, error.state, error.remedy
    else:
        cause, state, remedy = ": ".join(filter(None, [error.filename, error.strerror or str(error)])), None, None
    total = len(plan.changes)
    counts = f"{number - 1} of {total} steps are done and stay; {total - number} were not begun"
    return ApplyError(
        f"{change.action} {change.resource.title} failed: {cause}",
        where=f"{machine}, step {number}",
        state=f"{state}. {counts}" if state else counts,
        remedy=remedy or "correct that, then hubfleet up again; it carries on from here",
    )
