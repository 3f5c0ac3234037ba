"""What a load test found: every person's timings, what the machine did, and sums of both."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hubfleet.loadtest.person import Record
from hubfleet.loadtest.scenario import Scenario
from hubfleet.loadtest.watch import Watched

FORMAT = 1

SHARES = (("p50", 50.0), ("p95", 95.0), ("max", 100.0))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` percent of the values do not exceed (nearest rank: a measured one).

    Raises ValueError for no values.
    """
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share / 100 * len(values)) - 1)]


def _between(first: str, last: str) -> Callable[[Record], float | None]:
    def measure(record: Record) -> float | None:
        if first not in record.steps or last not in record.steps:
            return None
        return record.steps[last][1] - record.steps[first][0]

    return measure


MEASURES: dict[str, tuple[str, Callable[[Record], float | None]]] = {
    "login": ("log in", _between("login", "login")),
    "ready": ("Start to ready", _between("start", "start")),
    "page": ("JupyterLab's page", _between("page", "page")),
    "assets": ("its scripts, styles and first requests", _between("assets", "assets")),
    "opened": ("Start to JupyterLab loaded", _between("start", "assets")),
    "kernel": ("kernel started", _between("kernel", "kernel")),
    "output": ("cell to its first output", _between("output", "output")),
    "first_output": ("Start to first output", _between("start", "output")),
    "done": ("whole notebook", _between("done", "done")),
    "save": ("save", _between("save", "save")),
    "stop": ("stop", _between("stop", "stop")),
}
"""Name: what it is in words, and how long it took somebody in seconds (None where it did not come to an end)."""


@dataclass
class Result:
    """One load test. ``people``: everybody's record. ``watched``: None when the machine could not be looked at.

    ``cleanup``: what could not be cleaned up; empty is as it should be. ``broken_off``: why it ended early, or None.
    """

    url: str
    hub_version: str
    began: float
    scenario: Scenario
    people: list[Record]
    watched: Watched | None
    broken_off: str | None = None
    cleanup: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Record]:
        return [record for record in self.people if record.failed]

    def values(self, measure: str) -> list[float]:
        """How long it took those who got through it."""
        found = (MEASURES[measure][1](record) for record in self.people)
        return [value for value in found if value is not None]

    def times(self) -> dict[str, dict[str, float]]:
        """p50, p95, max and number of each measure that anybody got through."""
        sums = {}
        for measure in MEASURES:
            values = self.values(measure)
            if values:
                sums[measure] = {name: percentile(values, share) for name, share in SHARES} | {"people": len(values)}
        return sums

    def wall(self, step: str) -> float | None:
        """From the first person's press on Start until the last one ended this step; None unless all did."""
        begins = [record.steps["start"][0] for record in self.people if "start" in record.steps]
        ends = [record.steps[step][1] for record in self.people if step in record.steps]
        return max(ends) - min(begins) if begins and len(ends) == len(self.people) else None

    def reasons(self) -> list[tuple[str, str, int]]:
        """Step, reason and number of the failures, the most frequent first."""
        counted = Counter((str(record.failed_step), str(record.reason)) for record in self.failed)
        return [(step, reason, number) for (step, reason), number in counted.most_common()]

    def pss_per_person(self) -> list[int]:
        """Bytes of each person whose processes could be measured."""
        return [footprint.pss for footprint in self.watched.people.values()] if self.watched else []

    def client_saturated(self) -> str | None:
        """Why this client was too slow to be believed, or None."""
        if self.watched is None or not self.watched.samples:
            return None
        busiest = max(sample.client for sample in self.watched.samples)
        if busiest > 0.9:
            return f"the client kept a whole core busy ({busiest:.0%})"
        if self.watched.client_lag_s > 1.0:
            return f"the client was held up for {self.watched.client_lag_s:.1f} s"
        return None

    def others_busy(self) -> str | None:
        """A warning when something else kept the machine busy, or None."""
        if self.watched is None:
            return None
        cores, until = self.watched.cores, self.watched.looked_at
        # What people's processes do after that, which is to end, is not known to be theirs.
        samples = [sample for sample in self.watched.samples if until is None or sample.at <= until]
        if not samples:
            return None
        ours = sum(footprint.cpu_s for footprint in self.watched.people.values()) / max(samples[-1].at, 1e-3)
        known = [
            (sample.client if self.watched.client_here else 0.0)
            + (sum(sample.parts.values()) if self.watched.hub_here else 0.0)
            for sample in samples
        ]
        each = [sample.cpu - own for sample, own in zip(samples, known, strict=True)]
        others = sum(each) / len(each) - ours
        if not self.watched.people or others < cores / 4:
            return None
        whose = "machine's" if self.watched.machines == 1 else "machines'"
        return f"something else kept {others:.1f} of the {whose} {cores} cores busy"

    def to_json(self) -> dict[str, Any]:
        """Everything, raw timings included; no token and no password."""
        scenario = dataclasses.asdict(self.scenario)
        scenario["notebook"] = {"cells": len(self.scenario.notebook["cells"])}
        return {
            "format": FORMAT,
            "url": self.url,
            "hub_version": self.hub_version,
            "began": self.began,
            "scenario": scenario,
            "failed": len(self.failed),
            "failures": [{"step": step, "reason": reason, "people": number} for step, reason, number in self.reasons()],
            "times": self.times(),
            "wall_ready": self.wall("start"),
            "wall_first_output": self.wall("output"),
            "pss_per_person": self.pss_per_person(),
            "client_saturated": self.client_saturated(),
            "others_busy": self.others_busy(),
            "broken_off": self.broken_off,
            "cleanup": self.cleanup,
            "machine": dataclasses.asdict(self.watched) if self.watched else None,
            "people": [dataclasses.asdict(record) for record in self.people],
        }
