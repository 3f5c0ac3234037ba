"""What becomes of a server that has ended, where its engine cannot be asked at once; and what groups open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubfleet.config import Config
from hubfleet.launcher import servers
from hubfleet.launcher.base import BadRequest, Record, Request, Status, Stopped, Unknown
from hubfleet.launcher.servers import Servers
from hubfleet.launcher.state import Records


class Away:
    """An engine that answers the third question, and the third request to remove something."""

    def __init__(self) -> None:
        self.asked = self.removals = 0
        self.ended: list[Callable[[Record], None]] = []
        self.removed = asyncio.Event()

    def watch(self, record: Record, ended: Callable[[Record], None]) -> None:
        self.ended.append(ended)

    async def poll(self, record: Record) -> Status:
        self.asked += 1
        return Stopped(137, "its memory ran out") if self.asked > 3 else Unknown("the engine is away")

    async def stop(self, record: Record, grace: float) -> None:
        self.removals += 1
        if self.removals < 3:
            raise OSError("the engine is away")
        self.removed.set()


async def test_what_it_leaves_is_removed_when_the_engine_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "CLEAN_AGAIN_S", 0.01)
    record = Record("ada", "ada", "", None, "http://192.0.2.1:8888", time.time(), "", {}, ready=True)
    Records(tmp_path).save(record)
    engine: Any = Away()
    kept = Servers(Config.model_validate({"hub": "test", "login": {"password": "file"}}), engine, tmp_path)
    assert await kept.adopt() == 1
    engine.ended[0](kept.records()[0])
    await asyncio.wait_for(engine.removed.wait(), 10)
    await kept.stop("ada")  # in its turn, and of what is gone
    assert engine.removals == 3
    told = await kept.status("ada")
    assert isinstance(told, Stopped)
    assert told.why.startswith("its memory ran out")
    assert not Records(tmp_path).load()


CONFIG = {
    "hub": "test",
    "login": {"github": {"client_id": "a"}, "allow": {"everybody": True}},
    "servers": {"profiles": {"usual": {}, "large": {"groups": ["physics"], "memory": {"limit": "8G"}}}},
    "groups": {
        "physics": {"provider": ["edu/physics"], "servers": {"stop_after_idle": "1h"}},
        "lab": {"members": ["ada"]},
    },
}


def asked(groups: Any, **more: Any) -> Request:
    return Request.parse({"user": "ben", "groups": groups, **more})


def test_what_the_hub_tells_of_groups_opens_what_the_file_says(tmp_path: Path) -> None:
    engine: Any = Away()
    kept = Servers(Config.model_validate(CONFIG), engine, tmp_path)
    inside = asked({"provider": ["Edu/Physics", "lab"], "hub": ["physics", "lab"]}, profile="large")
    assert kept.checked(inside) == inside
    assert kept.idle_limit(inside) == 3600
    assert [found["key"] for found in kept.profiles("ben", inside.belonging)] == ["usual", "large"]
    for groups in ({}, {"provider": ["physics"], "hub": ["physics"]}, {"hub": ["edu/physics"]}):
        outside = asked(groups, profile="large")
        with pytest.raises(BadRequest, match="no profile 'large' for 'ben'"):
            kept.checked(outside)
        assert [found["key"] for found in kept.profiles("ben", outside.belonging)] == ["usual"]


@pytest.mark.parametrize(
    "groups",
    [None, [], ["physics"], {"file": ["x"]}, {"hub": "x"}, {"hub": [1]}, {"hub": None}, {"provider": ["x"] * 2001}],
)
def test_groups_in_another_form_are_refused(groups: Any) -> None:
    with pytest.raises(BadRequest):
        asked(groups)
