"""Accounts of hubs on one machine, and ids of their people: never one for two."""

from __future__ import annotations

import multiprocessing
import pwd
import re
from pathlib import Path

import pytest

from hubfleet.config.owner import IdRange
from hubfleet.engines import uids
from hubfleet.engines.accounts import accounts_of
from hubfleet.engines.uids import NoIdLeft, uid_for

HUBS = ("x", "x-p", "x.p", "x-p-p", "x-hub", "physics101", "prod.physics", "a" * 20, "a" * 21, "a" * 40, "1")


def test_hubs_do_not_share_accounts() -> None:
    accounts = [name for hub in HUBS for name in vars(accounts_of(hub, True)).values()]
    assert len(set(accounts)) == 3 * len(HUBS)
    assert all(re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", name) for name in accounts), "useradd takes no others"


def test_without_root_there_are_no_accounts() -> None:
    assert set(vars(accounts_of("x", False)).values()) == {""}


def test_an_id_stays_and_is_nobody_elses(tmp_path: Path) -> None:
    table = tmp_path / "uids.json"
    people = [(hub, name) for hub in ("one", "two") for name in ("ada", "ben", "one")]
    first = {person: uid_for(table, *person) for person in people}
    assert len(set(first.values())) == len(people)
    assert {person: uid_for(table, *person) for person in reversed(people)} == first
    assert not set(first.values()) & {entry.pw_uid for entry in pwd.getpwall()}
    assert all(uids.FIRST <= uid <= uids.LAST for uid in first.values())
    assert table.stat().st_mode & 0o077 == 0


def test_accounts_of_the_machine_are_seen_from_a_container(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    lines = [f"taken{number}:x:{uids.FIRST + number}:100::/:/bin/sh" for number in range(3)]
    (tmp_path / "etc" / "passwd").write_text("\n".join([*lines, "", "+"]))
    assert uid_for(tmp_path / "uids.json", "hub", "ada", str(tmp_path)) == uids.FIRST + 3


def _take(table: Path, hub: str) -> list[int]:
    return [uid_for(table, hub, f"user{number}") for number in range(50)]


def test_a_range_of_a_hubs_own(tmp_path: Path) -> None:
    table, own = tmp_path / "uids.json", IdRange(200_000, 200_001)
    first = uid_for(table, "usual", "ada")
    assert [uid_for(table, "hub", name, ids=own) for name in ("ada", "ben", "ada")] == [200_000, 200_001, 200_000]
    assert uid_for(table, "usual", "ben") == first + 1
    assert uid_for(table, "hub", "ada") == 200_000, "files belong to it already"


def test_two_launchers_at_once(tmp_path: Path) -> None:
    table = tmp_path / "uids.json"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        taken = pool.starmap(_take, [(table, hub) for hub in ("a", "b", "c", "d")])
    assert len({uid for one in taken for uid in one}) == 200


def test_when_all_ids_are_taken(tmp_path: Path) -> None:
    table, one = tmp_path / "uids.json", IdRange(70_000, 70_000)
    uid_for(table, "hub", "ada", ids=one)
    with pytest.raises(NoIdLeft, match=r"uids\.json"):
        uid_for(table, "hub", "ben", ids=one)


def test_a_damaged_table_gives_no_ids(tmp_path: Path) -> None:
    table = tmp_path / "uids.json"
    table.write_text("{")
    with pytest.raises(ValueError):
        uid_for(table, "hub", "ada")
