"""Where another server of a hub may come, and what is told to whose server comes nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from hubfleet.engines.swarm.draining import closed, is_drained, no_room, open_to
from hubfleet.engines.swarm.specification import Settings
from hubfleet.engines.swarm.tasks import cores_of
from hubfleet.launcher.base import StartFailed
from unit.engines.swarm.test_specification import told

SETTINGS = Settings.from_json(told())
FULL = "no suitable node (insufficient resources on 1 node; scheduling constraints not satisfied on 1 node)"


def node(name: str, *labels: str, hub: str = "physics101", cores: int = 4) -> dict[str, Any]:
    marked = {f"hubfleet.{hub}.{one}": "yes" for one in labels} | {f"hubfleet.{hub}.machine": name}
    described = {"Hostname": f"{name}.example.edu", "Resources": {"NanoCPUs": cores * 10**9}}
    return {"ID": f"id-{name}", "Spec": {"Labels": marked}, "Description": described, "Status": {"State": "ready"}}


HUB1, WORKER1, WORKER2 = node("hub1"), node("worker1", "worker"), node("worker2", "worker", "drained")


def test_a_machine_that_is_drained_is_left_out_and_one_without_the_label_is_not() -> None:
    assert closed(SETTINGS, [HUB1, WORKER1, WORKER2]) == ["id-worker2"]
    assert closed(SETTINGS, [HUB1, WORKER1]) == []
    assert [is_drained(SETTINGS, one) for one in (None, WORKER1, WORKER2)] == [False, False, True]
    cores = [node("worker1", "worker", cores=8), node("worker2", "worker", "drained", cores=16), node("hub1", cores=32)]
    assert cores_of(cores, open_to(SETTINGS)) == [8]


def test_what_another_hub_has_drained_is_open_for_this_one() -> None:
    theirs = node("worker1", "worker", "drained", hub="chemistry")
    theirs["Spec"]["Labels"] |= WORKER1["Spec"]["Labels"]
    assert closed(SETTINGS, [theirs]) == []


def test_no_machine_left_is_told_at_once_and_by_the_names_of_the_file() -> None:
    with pytest.raises(StartFailed) as told_at_once:
        closed(SETTINGS, [HUB1, WORKER2, node("worker1", "worker", "drained"), node("a", "worker", "drained")])
    assert str(told_at_once.value) == (
        "no machine takes new servers now: a, worker1 and worker2 are drained. "
        "An administrator can have one take servers again: hubfleet machine add a"
    )
    assert closed(SETTINGS, [HUB1]) == [], "where no machine is known to have servers, the swarm says so"


def test_a_drained_machine_is_named_where_the_others_have_no_room() -> None:
    assert no_room(SETTINGS, [HUB1, WORKER1, WORKER2], FULL) == (
        f"no machine has room for the server now: {FULL}. worker2 is drained, so no new servers come there. "
        "Please try again later, or choose a smaller profile"
    )
    words = no_room(SETTINGS, [HUB1, WORKER1], "no suitable node (1 node not available for new tasks)")
    assert "drained" not in words
    assert words.endswith("An administrator has to look at the machines: hubfleet status")
