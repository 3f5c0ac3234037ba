"""A manager that was restarted has not heard of its machines yet: a start waits for them."""

from __future__ import annotations

from typing import Any

import pytest

from hubfleet.engines.swarm.tasks import unheard_of

PLACEMENT = ("node.labels.worker==yes",)


def node(state: str, message: str = "", worker: str = "yes") -> dict[str, Any]:
    return {"Spec": {"Labels": {"worker": worker}}, "Status": {"State": state, "Message": message}}


@pytest.mark.parametrize(
    ("nodes", "waits"),
    [
        ([node("ready"), node("unknown", 'Node moved to "unknown" state due to leadership change in cluster')], True),
        ([node("down", 'heartbeat failure for node in "unknown" state')], True),
        ([node("down", "heartbeat failure")], False),
        ([node("ready"), node("unknown", worker="no")], False),
        ([node("ready", "unknown")], False),
        ([], False),
    ],
)
def test_only_machines_that_may_have_servers_and_were_not_heard_of_count(nodes: list[Any], waits: bool) -> None:
    assert unheard_of(nodes, PLACEMENT) is waits
