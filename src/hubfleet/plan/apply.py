"""Carries out a plan: exactly the changes that were shown, in their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
        step = _Step(number, len(plan.changes), name, change, on_event, time.monotonic())
        step.tell("start")
        try:
            acted = machines[name].apply(change, step.progress)
        except (HubfleetError, OSError) as error:
            raise _failure(step, error) from error
        step.tell("done" if acted else "already done")


@dataclass(frozen=True)
class _Step:
    number: int
    total: int
    machine: str
    change: Change
    on_event: Callable[[Event], None]
    started: float

    def tell(self, status: Status, text: str = "") -> None:
        seconds = time.monotonic() - self.started
        self.on_event(Event(self.number, self.total, self.machine, self.change, status, text, seconds))

    def progress(self, text: str) -> None:
        self.tell("progress", text)


def _failure(step: _Step, error: HubfleetError | OSError) -> ApplyError:
    if isinstance(error, HubfleetError):
        cause, state, remedy = error.what, error.state, error.remedy
    else:
        cause, state, remedy = ": ".join(filter(None, [error.filename, error.strerror or str(error)])), None, None
    done = step.number - 1
    counts = f"{done} of {step.total} steps are done and stay; {step.total - step.number} were not begun"
    return ApplyError(
        f"{step.change.action} {step.change.resource.title} failed: {cause}",
        where=f"{step.machine}, step {step.number}",
        state=f"{state}. {counts}" if state else counts,
        remedy=remedy or "correct that, then hubfleet up again; it carries on from here",
    )
