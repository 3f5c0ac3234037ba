"""Carries out a plan: exactly the changes that were shown, on each machine in their order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from hubfleet.errors import ApplyError, HubfleetError, UnreachableError
from hubfleet.machines import Machine
from hubfleet.plan.model import Plan
from hubfleet.resources import Change

Status = Literal["start", "progress", "done", "already done"]


@dataclass(frozen=True)
class Event:
    """Something happened while a plan is carried out.

    number, total: which step of how many, from 1, in the order of the plan.
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

    Machines work beside each other, each through its own changes in their order; none begins a stage
    (`Resource.stage`), such as touching what people use, before all have done what comes before that. What a step needs
    of another machine is asked for when it is begun. ``on_event`` is told one thing at a time, by whichever thread
    works on the machine it is about.

    Hold the lock, and call `Generations.begin` before and `Generations.switch` after it. Raises ApplyError
    at the first step that fails or whose resource changed since the plan (UnreachableError where a machine was lost);
    its `state` says what was done and what was not. The steps that other machines are at are brought to their end, no
    more are begun. Running the command again carries on from there.
    """
    work = _Work(plan, machines, on_event)
    if len(work.steps) == 1:
        (alone,) = work.steps
        work.do(alone)
    else:
        # Daemons: whoever presses Ctrl-C waits for no machine.
        threads = [threading.Thread(target=work.do, args=(name,), daemon=True) for name in work.steps]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            work.stop()
            raise
    work.end()


class _Work:
    """One plan on its way. ``steps``: by machine and stage, number and change; a change is never in an earlier stage
    than the one before it."""

    def __init__(self, plan: Plan, machines: Mapping[str, Machine], on_event: Callable[[Event], None]) -> None:
        self.steps: dict[str, dict[int, list[tuple[int, Change]]]] = {}
        for number, (name, change) in enumerate(plan.changes, start=1):
            stages = self.steps.setdefault(name, {})
            stage = max(change.resource.stage(change.action), *stages, 0)
            stages.setdefault(stage, []).append((number, change))
        self._stages = sorted({stage for stages in self.steps.values() for stage in stages})
        self._machines, self._on_event, self._total = machines, on_event, len(plan.changes)
        self._ready = threading.Barrier(max(1, len(self.steps)))
        self._telling = threading.Lock()
        self._begun = self._done = 0
        self._failures: list[tuple[int, str, Change, BaseException]] = []

    def do(self, name: str) -> None:
        """All of one machine, or as far as nothing fails anywhere."""
        for stage in self._stages:
            if not self._all(name, self.steps[name].get(stage, [])):
                return
            try:
                self._ready.wait()
            except threading.BrokenBarrierError:  # another machine has failed, and says why
                return

    def _all(self, name: str, steps: Sequence[tuple[int, Change]]) -> bool:
        for number, change in steps:
            if self._ready.broken:
                return False
            tell = partial(self._tell, Event(number, self._total, name, change, "start"), time.monotonic())
            try:
                tell("start")
                acted = self._machines[name].apply(self._complete(change), partial(tell, "progress"))
                tell("done" if acted else "already done")
            except BaseException as error:  # noqa: BLE001 - `end` raises it, in the thread that asked for the work
                self._failures.append((number, name, change, error))
                self.stop()
                return False
        return True

    def _complete(self, change: Change) -> Change:
        """With what it needs of another machine."""
        if change.resource.needs is None or change.action == "remove":
            return change
        machine, what = change.resource.needs
        return replace(change, resource=change.resource.given(self._machines[machine].secret(what)))

    def stop(self) -> None:
        """Begin no more steps."""
        self._ready.abort()

    def _tell(self, begun: Event, started: float, status: Status, text: str = "") -> None:
        with self._telling:
            self._begun += status == "start"
            self._done += status in ("done", "already done")
            self._on_event(replace(begun, status=status, text=text, seconds=time.monotonic() - started))

    def end(self) -> None:
        """Raises what went wrong first."""
        if not self._failures:
            return
        number, name, change, error = self._failures[0]
        if not isinstance(error, (HubfleetError, OSError)):
            raise error
        if isinstance(error, HubfleetError):
            cause, state, remedy = error.what, error.state, error.remedy
        else:
            cause, state, remedy = ": ".join(filter(None, [error.filename, error.strerror or str(error)])), None, None
        others = [f"{other}: {_words(failed)}" for _, other, _, failed in self._failures[1:]]
        counts = f"{self._done} of {self._total} steps are done and stay; {self._total - self._begun} were not begun"
        kind = UnreachableError if isinstance(error, UnreachableError) else ApplyError
        raise kind(
            f"{change.action} {change.resource.title} failed: {cause}",
            where=f"{name}, step {number}",
            state=". ".join(filter(None, [state, *others, counts])),
            remedy=remedy or "correct that, then hubfleet up again; it carries on from here",
        ) from error


def _words(error: BaseException) -> str:
    return error.what if isinstance(error, HubfleetError) else str(error)
