"""How many people the hub holds and what gives out first: worked out from what each person was measured to take."""

from __future__ import annotations

from dataclasses import dataclass

from hubfleet.loadtest.result import Result
from hubfleet.loadtest.watch import Watched

WITHIN_S = 60.0
"""A class that starts together should see its first output within this."""

KEPT_BACK = 0.1
"""Of the machine's memory: what the system itself, and a moment's more, may take."""

FAR = 5
"""So many times the people that were there can be worked out; beyond, it is a guess."""


@dataclass(frozen=True)
class Bound:
    """One thing that can give out. ``people``: how many it is enough for. ``reckoning``: how that was worked out."""

    name: str
    people: int
    reckoning: str


@dataclass(frozen=True)
class Verdict:
    """``holds``: None where it cannot be told. ``first``: what gives out first: memory, processor, hub or failures."""

    sentence: str
    holds: int | None
    first: str | None
    bounds: tuple[Bound, ...]
    assumption: str


def verdict(result: Result) -> Verdict:
    """What the result means, with its assumption."""
    count, failed = len(result.people), len(result.failed)
    bounds = _bounds(result)
    assumption = _assumption(result)
    if result.broken_off:
        sentence = f"The load test was broken off ({result.broken_off}), so it does not say how many this hub holds."
        return Verdict(sentence, None, None, bounds, assumption)
    if failed:
        step, reason, number = result.reasons()[0]
        sentence = (
            f"This hub did not hold {count} people: {failed} of {count} failed, "
            f"{'all' if number == failed else f'{number} of them'} at the step {step} ({reason})."
        )
        return Verdict(sentence, None, "failures", bounds, assumption)
    if not bounds:
        sentence = (
            f"All {count} people got through; how many more this hub holds cannot be told, for what they take of its "
            "machine could not be measured."
        )
        return Verdict(sentence, None, None, bounds, assumption)
    least = min(bounds, key=lambda bound: bound.people)
    guess = f" (a guess: only {count} were there)" if least.people > FAR * count else ""
    names = {"memory": "memory", "processor": "the processor", "hub": "the hub's loop"}
    unknown = "" if any(bound.name == "memory" for bound in bounds) else " Their memory could not be measured."
    sentence = (
        f"This hub holds about {_roughly(least.people)} people like these {count}{guess}; "
        f"{names[least.name]} gives out first.{unknown}"
    )
    return Verdict(sentence, least.people, least.name, bounds, assumption)


def _roughly(people: int) -> int:
    """Two digits of it: the next run says a little more or less."""
    unit: int = 10 ** max(0, len(str(people)) - 2)
    return people // unit * unit


def _bounds(result: Result) -> tuple[Bound, ...]:
    watched = result.watched
    if watched is None or not watched.people:
        return ()
    found = [_memory(watched), _processor(watched)]
    if watched.hub_loop_cpu_s:
        found.append(_hub(watched.hub_loop_cpu_s / len(result.people)))
    return tuple(found)


def _memory(watched: Watched) -> Bound:
    count = len(watched.people)
    server = sum(footprint.pss for footprint in watched.people.values()) / count
    grown = watched.parts_pss.values() if watched.hub_here else ()
    growth = sum(max(0, after - before) for before, after in grown if after) / count
    free, total = watched.memory_available_before, watched.memory_total
    usable = max(0.0, free - KEPT_BACK * total)
    people = int(usable // (server + growth))
    return Bound(
        "memory",
        people,
        f"{megabytes(server + growth)} a person ({megabytes(server)} in their own processes, {megabytes(growth)} by "
        f"which the hub's grew); {megabytes(free)} were free at first, of which a tenth of the {_whose(watched)} "
        f"{megabytes(total)} is kept back: {megabytes(usable)} are enough for {people}",
    )


def _processor(watched: Watched) -> Bound:
    count = len(watched.people)
    servers = sum(footprint.cpu_s for footprint in watched.people.values()) / count
    parts = sum(watched.parts_cpu_s.values()) / count if watched.hub_here else 0.0
    people = int(watched.cores * WITHIN_S / max(1e-3, servers + parts))
    return Bound(
        "processor",
        people,
        f"{servers + parts:.2f} s a person ({servers:.2f} s in their own processes, {parts:.2f} s in the hub's); "
        f"{watched.cores} cores have {watched.cores * WITHIN_S:.0f} s in {WITHIN_S:.0f} s: enough for {people}",
    )


def _whose(watched: Watched) -> str:
    return "machine's" if watched.machines == 1 else f"{watched.machines} machines'"


def _hub(each: float) -> Bound:
    """What its loop can carry. Its other threads have other cores, and are in the processor's reckoning."""
    people = int(WITHIN_S / max(1e-4, each))
    return Bound(
        "hub",
        people,
        f"{each * 1000:.0f} ms a person in JupyterHub's loop, which uses one core at most: "
        f"enough for {people} in {WITHIN_S:.0f} s",
    )


def _assumption(result: Result) -> str:
    several = result.watched is not None and result.watched.machines > 1
    where = "machines, over which servers are spread evenly," if several else "machine"
    return (
        f"Assumed: everybody does what these {len(result.people)} did, all of them start together and should have "
        f"their first output within {WITHIN_S:.0f} s, memory and processor grow in step with their number, nothing "
        f"else on the {where} needs its processor, and nothing else takes more memory than it did before. A notebook "
        "that takes more memory or time makes it fewer: play your own with --notebook."
    )


def megabytes(size: float) -> str:
    """A size for people."""
    return f"{size / 1024**3:.1f} GB" if size >= 10 * 1024**3 else f"{size / 1024**2:.0f} MB"
