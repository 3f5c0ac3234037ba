"""What is said of machines that share homes by NFS, over tables of facts."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from hubfleet import sharechecks
from hubfleet.config import Config
from hubfleet.sharechecks import CLIENT, SERVER

REFUSED = os.strerror(errno.ECONNREFUSED)
SHARE = ("10.0.0.9", 2049)


def facts(name: str, why: str = "", listening: tuple[str, ...] = (), **nfs: bool | None) -> dict[str, Any]:
    up = {port: {} for port in listening}
    return {"hostname": name, "share": why, "listening": up, "nfs": {"client": True, "server": True, **nfs}}


@pytest.mark.parametrize(
    ("wanted", "nfs", "level", "words"),
    [
        ({CLIENT}, {}, "ok", "its kernel has a client of NFS"),
        ({CLIENT}, {"client": False}, "problem", "no client of NFS 4.2"),
        ({CLIENT}, {"client": None}, "note", "cannot be seen"),
        ({SERVER}, {"server": False}, "problem", "no server of NFS 4.2"),
        ({SERVER}, {"client": False}, "ok", "a server of NFS"),
    ],
)
def test_what_a_kernel_has(wanted: set[str], nfs: dict[str, Any], level: str, words: str) -> None:
    (finding,) = sharechecks.kernel(facts("one", **nfs), wanted)
    assert finding.level == level
    assert words in finding.text
    assert level != "problem" or "Try: " in finding.text


def test_a_machine_without_homes_is_not_looked_at() -> None:
    assert list(sharechecks.kernel(facts("one", client=False, server=False), {"hub", "worker"})) == []
    assert list(sharechecks.shared([("one", {"hub"}, facts("one"))], None)) == []


@pytest.mark.parametrize(
    ("why", "listening", "level"),
    [
        ("", ("2049",), "ok"),
        (REFUSED, (), "ok"),  # before the first deployment
        (REFUSED, ("2049",), "problem"),
        ("no answer within 5 s", (), "problem"),
        ("No route to host", (), "problem"),
    ],
)
def test_whether_a_worker_reaches_the_storage(why: str, listening: tuple[str, ...], level: str) -> None:
    looked = [("store", {SERVER}, facts("store", listening=listening)), ("one", {CLIENT}, facts("one", why))]
    (finding,) = sharechecks.shared(looked, SHARE)
    assert finding.level == level, finding
    assert "one" in finding.text
    assert level != "problem" or "Try: let one through" in finding.text


def test_two_machines_of_one_name_would_be_taken_for_each_other() -> None:
    looked = [("store", {SERVER}, facts("debian")), *((name, {CLIENT}, facts("debian")) for name in ("one", "two"))]
    problem = [finding for finding in sharechecks.shared(looked, SHARE) if finding.level == "problem"]
    assert [finding.text.partition(",")[0] for finding in problem] == ["two and one are both called debian"]


@pytest.mark.parametrize(("share", "asked"), [("nfs", True), ("mounted", False)])
def test_who_is_asked(share: str, asked: bool) -> None:
    machines = {"hub1": ["hub", "storage"], "one": ["worker"], "front": ["edge"]}
    told = {"hub": "lab", "engine": "swarm", "storage": {"homes": {"path": "/srv/homes", "share": share}}}
    config = Config.model_validate(
        {**told, "machines": {name: {"ssh": name, "roles": roles} for name, roles in machines.items()}}
    )
    found = {name: set(sharechecks.roles(config, name)) for name in machines}
    assert found == {"hub1": {SERVER} if asked else set(), "one": {CLIENT} if asked else set(), "front": set()}
