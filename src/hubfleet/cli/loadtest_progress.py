"""A load test as it happens: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from hubfleet.cli.console import out, say
from hubfleet.loadtest import Progress, Scenario

WORDS = {
    "login": "logged in",
    "start": "ready",
    "page": "page",
    "assets": "JupyterLab loaded",
    "kernel": "kernel",
    "output": "first output",
    "done": "notebook done",
    "save": "saved",
    "stop": "stopped",
    "failed": "failed",
}
LINE_EVERY_S = 2.0


class Follow:
    """Is told of progress while it is entered."""

    def __init__(self, scenario: Scenario, quiet: bool = False) -> None:
        self._steps = (*scenario.steps, "failed")
        self._quiet = quiet
        self._last, self._phase, self._told = 0.0, "", ""
        self._tasks: dict[str, TaskID] = {}
        self._bars: Bars | None = None
        if out.is_terminal and not quiet:
            self._bars = Bars(TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), console=out)
            self._tasks = {step: self._bars.add_task(WORDS[step], total=scenario.people) for step in self._steps}

    def __enter__(self) -> Follow:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, progress: Progress) -> None:
        if self._quiet:
            return
        if self._bars is not None:
            for step, task in self._tasks.items():
                self._bars.update(task, completed=progress.ended[step])
        if progress.phase != self._phase:
            self._count(progress)  # a phase may be over before there was a line about it
            self._phase = progress.phase
            say(f"{progress.phase} ..." if not progress.phase.startswith("not ") else progress.phase, "dim")
        elif time.monotonic() - self._last > LINE_EVERY_S:
            self._count(progress)

    def _count(self, progress: Progress) -> None:
        """Without bars, a line with how many have got how far, unless the last one said the same."""
        counts = ", ".join(f"{WORDS[step]} {progress.ended[step]}" for step in self._steps if progress.ended[step])
        if self._bars is None and counts != self._told:
            self._last, self._told = time.monotonic(), counts
            say(f"{progress.people} people: {counts}")
