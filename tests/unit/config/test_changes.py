"""What differs between two configurations, in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hubfleet.config import Config, changed_settings

HUB: dict[str, Any] = {"hub": "physics101", "servers": {"memory": {"limit": "1G"}}}
STAFF = {"members": ["ta1", "ta2"], "servers": {"cpu": {"limit": 2}}}

CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "nothing": (HUB, HUB, []),
    "a value": (HUB, {**HUB, "servers": {"memory": {"limit": "2G"}}}, ["servers.memory.limit: 1G -> 2G"]),
    "a value goes": (HUB, {"hub": "physics101"}, ["servers.memory.limit: 1G -> not set"]),
    "written otherwise": (HUB, {**HUB, "servers": {"memory": {"limit": "1024M"}}}, []),
    "a list": (HUB, {**HUB, "login": {"password": "file", "admins": ["a", "b"]}}, ["login.admins: admin -> a, b"]),
    "yes and no": (
        HUB,
        {**HUB, "servers": {**HUB["servers"], "fast_start": False}},
        ["servers.fast_start: true -> false"],
    ),
    "a group comes": (
        HUB,
        {**HUB, "groups": {"staff": STAFF}},
        ["groups.staff.members: not set -> ta1, ta2", "groups.staff.servers.cpu.limit: not set -> 2"],
    ),
    "a group goes": (
        {**HUB, "groups": {"staff": STAFF}},
        HUB,
        ["groups.staff.members: ta1, ta2 -> not set", "groups.staff.servers.cpu.limit: 2 -> not set"],
    ),
    "groups in another order": (
        {**HUB, "groups": {"a": {"members": ["x"]}, "b": {"members": ["x"]}}},
        {**HUB, "groups": {"b": {"members": ["x"]}, "a": {"members": ["x"]}}},
        ["order of groups: a, b -> b, a"],
    ),
}


def dumped(data: dict[str, Any]) -> dict[str, Any]:
    """As it is read back from a deployment."""
    dump: dict[str, Any] = json.loads(json.dumps(Config.model_validate(data).dump(), sort_keys=True))
    return dump


@pytest.mark.parametrize("case", CHANGES)
def test_each_setting_that_differs_has_a_line(case: str) -> None:
    before, after, lines = CHANGES[case]
    assert list(changed_settings(dumped(before), dumped(after))) == lines
