"""Limits of homes before anything is changed: what a machine lacks for them, and what their keeper is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubfleet.checks import Finding, limited_homes
from hubfleet.config import Config
from hubfleet.engines.disks import disks, problems
from hubfleet.engines.settings import keeping, limits
from hubfleet.layout import Layout
from hubfleet.names import system_name

USUAL = Path("/var/lib/hubfleet/physics101/homes")
ROOT, ANYBODY = Layout("physics101", USUAL.parents[1], True), Layout("physics101", Path("/home/ada/.local"), False)
PLAIN = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
COUNTED = f"{PLAIN}31 22 7:0 / {USUAL} rw - xfs /dev/loop0 rw,prjquota\n"
G = 1024**3


def config(**storage: Any) -> Config:
    return Config.model_validate({"hub": "physics101", "storage": storage})


def found(
    storage: Config, table: str, *, kernel: bool | None = True, free: int = 900 * G, there: int = 0
) -> list[Finding]:
    return list(limited_homes(storage, USUAL, table, kernel, free, there))


def test_without_limits_nothing_is_asked_of_a_machine() -> None:
    assert found(config(), PLAIN, kernel=False) == []
    assert found(config(homes="none"), PLAIN, kernel=False) == []


@pytest.mark.parametrize(
    ("table", "level", "words"),
    [
        (COUNTED, "ok", "is on XFS with project quotas"),
        (PLAIN, "problem", "is on ext4, which does not count what a home holds. Try: storage: {homes: {disk: 500G}}"),
        (COUNTED.replace("prjquota", "noquota"), "problem", "mounted without project quotas. Try: add the option"),
    ],
)
def test_limits_need_a_file_system_that_counts(table: str, level: str, words: str) -> None:
    (finding,) = found(config(homes={"quota": "10G"}), table)
    assert finding.level == level
    assert words in finding.text


@pytest.mark.parametrize(
    ("kernel", "free", "table", "seen"),
    [
        (True, 900, PLAIN, [("ok", "its kernel has XFS with quotas")]),
        (None, 900, PLAIN, [("note", "cannot be seen; hubfleet up will tell")]),
        (False, 900, PLAIN, [("problem", "(CONFIG_XFS_QUOTA), which homes are limited by. Try: the distribution's")]),
        (True, 100, PLAIN, [("ok", "its kernel"), ("note", "may come to take 500G, and 100 GB are free at")]),
        (True, 100, COUNTED, [("ok", "its kernel")]),  # the disk is there, and has taken what it has
    ],
)
def test_a_disk_needs_a_kernel_and_room(kernel: bool | None, free: int, table: str, seen: list[Any]) -> None:
    findings = found(config(homes={"disk": "500G"}), table, kernel=kernel, free=free * G)
    assert [one.level for one in findings] == [level for level, _ in seen]
    assert all(words in one.text for one, (_, words) in zip(findings, seen, strict=True))


def test_a_disk_is_never_made_smaller() -> None:
    wanted = config(homes={"disk": "500G"})
    assert [one.level for one in found(wanted, COUNTED, there=500 * G)] == ["ok"]
    _, refused = found(wanted, COUNTED, there=600 * G)
    assert refused == Finding("problem", "the disk of the homes has 600G, and is never made smaller. Try: disk: 600G")


def test_without_root_limits_are_refused() -> None:
    wanted = config(homes={"quota": "10G", "disk": "500G"})
    assert problems(wanted, ROOT) == []
    assert problems(wanted, ANYBODY) == [
        f"{path}: only root can limit homes, and here all have one owner. "
        f"Try: run hubfleet as root (sudo), or remove {path}"
        for path in ("storage.homes.quota", "storage.homes.disk")
    ]


def test_the_disk_lies_beside_the_homes() -> None:
    assert disks(config(homes={"quota": "10G"}), ROOT) == ()
    (disk,) = disks(config(homes={"disk": "500G"}), ROOT)
    assert (disk.path, disk.file, disk.size) == (str(USUAL), f"{USUAL}.disk", 500 * G)
    (disk,) = disks(config(homes={"disk": "1T", "path": "/srv/homes"}), ROOT)
    assert (disk.path, disk.file) == ("/srv/homes", "/srv/homes.disk")


def test_a_keeper_is_told_each_persons_limit() -> None:
    given = {
        "hub": "physics101",
        "storage": {"homes": {"quota": "10G"}},
        "groups": {"staff": {"members": ["ta1", "Ada Lovelace"], "storage": {"quota": "20G"}}, "b": {"members": ["x"]}},
        "users": {"ta1": {"storage": {"quota": "30G"}}, "y": {}},
    }
    told = limits(Config.model_validate(given))
    assert (told.usual, told.people) == (10 * G, {"ta1": 30 * G, system_name("ada lovelace"): 20 * G})
    assert keeping(Config.model_validate(given), ROOT, None)["counted"] is True
    assert "counted" not in keeping(config(), ROOT, None)
    assert keeping(config(homes={"disk": "500G"}), ROOT, None)["counted"] is True
