"""Waiting until people have left a machine: what ends the wait, and what is said of it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from hubfleet.cli import draining
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.draining import Emptying, Server, clock, until
from hubfleet.cli.fleetparts import FleetParts
from hubfleet.errors import BrokenOff, UnreachableError

ADA, BEN = {"user": "ada", "server": ""}, {"user": "ben", "server": "gpu"}


class Machines(FleetParts):
    """Who is on worker1 at each look, in this order; the last stays. None: the swarm does not tell."""

    def __init__(self, looks: Sequence[Sequence[Server] | Exception | None]) -> None:
        self.looks = list(looks)

    def servers_by_machine(self) -> dict[str, list[Server]]:
        self.now = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(self.now, Exception):
            raise self.now
        return {"worker1": list(self.now)} if self.now else {}

    def machine_states(self) -> dict[str, str]:
        return {} if self.now is None else {"worker1": "ready"}


def emptying(
    *looks: Sequence[Server] | Exception | None,
    at: float | None = None,
    drained: Callable[[], frozenset[str]] = lambda: frozenset({"worker1"}),
) -> Emptying:
    deployment = SimpleNamespace(parts=Machines(looks), drained=drained)
    return Emptying(cast(Deployment, deployment), "worker1", at)


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that are said; it is looked often."""
    lines: list[str] = []
    monkeypatch.setattr(draining, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(draining, "say", lambda text, style: lines.append(text))
    return lines


def test_it_ends_when_the_last_one_has_gone_and_tells_who_is_there_once(said: list[str]) -> None:
    assert emptying([ADA, BEN], [ADA, BEN], [BEN], []).wait() == "empty"
    assert said == ["  2 servers on worker1 yet: ada, ben (gpu)", "  1 server on worker1 yet: ben (gpu)"]


def test_it_ends_when_it_is_time_and_not_before(said: list[str]) -> None:
    at = time.time() + 1
    assert emptying([ADA], at=at).wait() == "due"
    assert time.time() >= at
    assert re.fullmatch(r"  1 server on worker1 yet: ada; stopped at \d\d:\d\d \(in 1s\)", said[0])
    assert len(said) == 1
    assert emptying([], at=time.time() - 1).wait() == "empty"


def test_nobody_is_stopped_where_somebody_has_undone_it() -> None:
    notes = iter([frozenset({"worker1"}), frozenset[str]()])
    assert emptying([ADA], at=time.time() + 60, drained=lambda: next(notes)).wait() == "undone"


def test_a_swarm_that_does_not_tell_is_asked_again_and_is_not_taken_for_an_empty_machine(
    said: list[str],
) -> None:
    lost = UnreachableError("the connection was lost", where="hub1")
    assert emptying([ADA], None, lost, [ADA], []).wait() == "empty"
    assert sum("1 server on worker1 yet" in line for line in said) == 1
    assert sum("It is tried again" in line for line in said) == 1


def test_a_machine_that_stays_away_ends_it_with_the_state_of_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "AWAY_LIMIT_S", 0.05)
    lost = UnreachableError("the connection was lost", where="hub1")
    for at in (None, time.time() + 0.3):
        with pytest.raises(UnreachableError, match="worker1 stays drained, and nobody was stopped"):
            emptying([ADA], lost, at=at).wait()
    assert at is not None
    assert time.time() >= at, "it may be back before it is time"


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C, as in a terminal: what a shell runs in the background does not hear it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_to_break_it_off_is_answered_with_the_state_of_things(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def drained() -> frozenset[str]:
        signal.raise_signal(number)
        return frozenset({"worker1"})

    with pytest.raises(BrokenOff) as broken:
        emptying([ADA], at=time.time() + 3600, drained=drained).wait()
    assert str(broken.value) == (
        "Interrupted. worker1 stays drained: nobody new comes there, and who is there goes on, and is not stopped. "
        "Try: hubfleet machine drain worker1 --stop-after 1h, to go on; hubfleet machine add worker1, to undo"
    )
    with pytest.raises(BrokenOff, match="--wait, to go on"):
        emptying([ADA], drained=drained).wait()
    assert signal.getsignal(signal.SIGTERM) is before


def test_times_for_people() -> None:
    now = time.time()
    assert [str(until(now + seconds)) for seconds in (-5, 20.5, 150, 7200, 86_400)] == ["1s", "21s", "3m", "2h", "1d"]
    assert re.fullmatch(r"\d\d:\d\d", clock(now))
    assert re.fullmatch(r"\w+ \d\d \w+, \d\d:\d\d", clock(now + 3 * 86_400))
