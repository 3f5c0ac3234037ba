"""Sums over what was measured, and what they say about the hub."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hubfleet.loadtest import verdict
from hubfleet.loadtest.result import percentile
from unit.loadtest.results import GB, MB, record, result, watched


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([1, 2, 3, 4], 50) == 2
    assert percentile(list(range(1, 101)), 95) == 95
    assert percentile([3, 1, 2], 100) == 3
    assert percentile([7], 50) == percentile([7], 95) == 7
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@given(some.lists(some.floats(0, 1e6), min_size=1), some.floats(0.1, 100))
def test_a_percentile_is_not_exceeded_by_its_share(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share / 100 * len(values) - 1e-9
    assert sum(value < found for value in values) < share / 100 * len(values) + 1e-9


def test_times_are_from_start_and_only_of_those_who_got_through() -> None:
    records = [record(1, ready=2), record(2, ready=4), record(3, ready=9, failed=("page", "HTTP 502"))]
    found = result(records, None)
    assert found.times()["ready"] == {"p50": 4.0, "p95": 9.0, "max": 9.0, "people": 3}
    assert found.times()["first_output"] == {"p50": 3.25, "p95": 5.25, "max": 5.25, "people": 2}
    assert "kernel" not in found.times()
    assert found.wall("start") == 9.0
    assert found.wall("output") is None, "one of them never had any"


def test_equal_failures_are_counted_together() -> None:
    records = [record(1), *(record(number, failed=("start", "no room")) for number in (2, 3))]
    records.append(record(4, failed=("page", "HTTP 502")))
    assert result(records, None).reasons() == [("start", "no room", 2), ("page", "HTTP 502", 1)]


def test_the_json_holds_every_raw_timing() -> None:
    data = json.loads(json.dumps(result([record(1)], watched(1)).to_json()))
    assert data["people"][0]["steps"]["start"] == [0.5, 2.5]
    assert data["pss_per_person"] == [100 * MB]
    assert data["machine"]["samples"][0]["cpu"] == 2.0


# -- how many people it holds -----------------------------------------------------------------------------------------


def holding(people: int, **each: float) -> tuple[int | None, str | None, str]:
    found = verdict(result([record(number) for number in range(1, people + 1)], watched(people, **each)))
    return found.holds, found.first, found.sentence


def test_memory_gives_out_first() -> None:
    # 10 GB were free, 1.6 GB are kept back; a person takes 100 MB, and 1 MB of the hub's.
    expected = int((10 * GB - 1.6 * GB) // (101 * MB))
    holds, first, sentence = holding(20)
    assert (holds, first) == (expected, "memory")
    assert sentence == f"This hub holds about {expected} people like these 20; memory gives out first."
    memory = next(bound for bound in verdict(result([record(1)], watched(20))).bounds if bound.name == "memory")
    assert (
        "10.0 GB were free at first, of which a tenth of the machine's 16.0 GB is kept back: 8602" in memory.reckoning
    )


@pytest.mark.parametrize(("people", "told"), [(7, "about 7 "), (85, "about 85 "), (178, "about 170 ")])
def test_no_more_is_said_than_the_next_run_would_say(people: int, told: str) -> None:
    holds, _, sentence = holding(20, cpu_s=1e-4, hub_cpu_s=60 / (people + 0.5), pss=1)
    assert holds == people
    assert told in sentence


def test_the_processor_gives_out_first() -> None:
    # 4 cores for 60 s; a person takes 5 s, and 0.05 s of the hub's.
    holds, first, sentence = holding(20, cpu_s=5.0)
    assert (holds, first) == (int(240 / 5.05), "processor")
    assert sentence == "This hub holds about 47 people like these 20; the processor gives out first."


def test_the_hubs_loop_gives_out_first() -> None:
    # It uses one core, however many there are: 60 s at 2 s a person.
    holds, first, sentence = holding(20, hub_cpu_s=2.0)
    assert (holds, first) == (30, "hub")
    assert "the hub's loop gives out first" in sentence


def test_the_hub_checks_passwords_beside_its_loop() -> None:
    # 2 s a person, but 0.5 s of them in the loop: that is enough for 120; 4 cores for 60 s at 0.1 s and 2 s for 114.
    holds, first, _ = holding(20, cpu_s=0.1, hub_cpu_s=2.0, loop_cpu_s=0.5, pss=1)
    assert (holds, first) == (114, "processor")
    bounds = verdict(result([record(1)], watched(1, hub_cpu_s=2.0, loop_cpu_s=0.5))).bounds
    hub = next(bound for bound in bounds if bound.name == "hub")
    assert (hub.people, hub.reckoning) == (
        120,
        "500 ms a person in JupyterHub's loop, which uses one core at most: enough for 120 in 60 s",
    )


def test_few_people_are_no_proof_for_many() -> None:
    assert "(a guess: only 2 were there)" in holding(2)[2]
    assert "guess" not in holding(20)[2]


def test_failures_come_before_any_reckoning() -> None:
    records = [*(record(number) for number in range(1, 9)), record(9, failed=("start", "timed out"))]
    found = verdict(result(records, watched(8)))
    assert (found.holds, found.first) == (None, "failures")
    assert found.sentence == ("This hub did not hold 9 people: 1 of 9 failed, all at the step start (timed out).")


def test_nothing_is_said_about_what_was_not_measured() -> None:
    found = verdict(result([record(1)], None))
    assert (found.holds, found.first, found.bounds) == (None, None, ())
    assert "cannot be told" in found.sentence
    broken_off = verdict(result([record(1)], watched(1), broken_off="after 3 s"))
    assert broken_off.holds is None
    assert "broken off (after 3 s)" in broken_off.sentence


def test_a_client_that_was_too_slow_is_told() -> None:
    machine = watched(1)
    assert result([record(1)], machine).client_saturated() is None
    machine.client_lag_s = 2.5
    assert result([record(1)], machine).client_saturated() == "the client was held up for 2.5 s"


def test_a_machine_that_others_kept_busy_is_told() -> None:
    machine = watched(1)
    assert result([record(1)], machine).others_busy() == "something else kept 1.7 of the machine's 4 cores busy"
    machine.people["loadtest-0001"].cpu_s = 30.0
    assert result([record(1)], machine).others_busy() is None


def test_several_machines_are_reckoned_together_and_the_hubs_parts_where_they_are() -> None:
    machine = watched(20)
    machine.machines, machine.hub_here, machine.client_here = 2, False, False
    found = verdict(result([record(1)], machine))
    memory, processor, _ = found.bounds
    assert memory.people == int((10 * GB - 1.6 * GB) // (100 * MB)), "the hub's own grows elsewhere"
    assert "a tenth of the 2 machines' 16.0 GB" in memory.reckoning
    assert "(2.00 s in their own processes, 0.00 s in the hub's)" in processor.reckoning
    assert "machines, over which servers are spread evenly" in found.assumption
    machine = watched(1)
    machine.machines, machine.hub_here, machine.client_here = 2, False, False
    # neither this client nor the hub is among what kept them busy
    assert result([record(1)], machine).others_busy() == "something else kept 1.9 of the machines' 4 cores busy"


def test_people_s_servers_that_end_are_nothing_else() -> None:
    machine = watched(1)
    machine.samples = [replace(sample, cpu=0.4 if sample.at <= 10 else 4.0) for sample in machine.samples]
    assert "something else" in str(result([record(1)], machine).others_busy())
    machine.looked_at = 10.0
    assert result([record(1)], machine).others_busy() is None
