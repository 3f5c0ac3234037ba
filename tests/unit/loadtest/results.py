"""Results for tests, put together by hand."""

from __future__ import annotations

from hubfleet.loadtest.person import Record
from hubfleet.loadtest.result import Result
from hubfleet.loadtest.scenario import Scenario
from hubfleet.loadtest.watch import Footprint, Sample, Watched

GB = 1024**3
MB = 1024**2


def record(number: int, *, ready: float = 2.0, failed: tuple[str, str] | None = None) -> Record:
    """Somebody who arrived at once, and either got through or failed at a step for a reason."""
    made = Record(f"loadtest-{number:04}")
    made.steps = {"login": (0.0, 0.5), "start": (0.5, 0.5 + ready)}
    if failed:
        made.failed_step, made.reason = failed
    else:
        end = 0.5 + ready
        made.steps |= {"assets": (end, end + 1), "output": (end + 1, end + 1.25), "stop": (20.0, 21.0)}
    return made


def watched(
    people: int, *, pss: int = 100 * MB, cpu_s: float = 2.0, hub_cpu_s: float = 0.05, loop_cpu_s: float | None = None
) -> Watched:
    """A machine of 4 cores and 16 GB, of which 10 GB were free. All of the hub's time is its loop's, unless told."""
    return Watched(
        cores=4,
        memory_total=16 * GB,
        memory_available_before=10 * GB,
        samples=[Sample(0.5 * number, 2.0, 6 * GB, {"hub": 0.1}, 0.1) for number in range(1, 40)],
        people={f"loadtest-{number:04}": Footprint(pss, cpu_s, 2) for number in range(1, people + 1)},
        parts_pss={"hub": (80 * MB, 80 * MB + people * MB)},
        parts_cpu_s={"hub": hub_cpu_s * people},
        hub_loop_cpu_s=(hub_cpu_s if loop_cpu_s is None else loop_cpu_s) * people,
    )


def result(records: list[Record], machine: Watched | None, **more: object) -> Result:
    made = Result("http://127.0.0.1:8000", "6.1.1", 1_790_000_000.0, Scenario(len(records)), records, machine)
    for name, value in more.items():
        setattr(made, name, value)
    return made
