"""What is said of homes that are on a file system which machines have already."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import needs
from hubfleet import homeschecks
from hubfleet.agent.homestrial import CONTENT, GIVE, MAKE, OWNER, READ, SEE, WRITE
from hubfleet.config import Config
from hubfleet.machines import LocalMachine

FINE = ("", 0)
NAME = ".hubfleet-trial-0123456789abcdef"


def config(place: object = "/srv/homes", **storage: Any) -> Config:
    machines = {"hub1": ["hub"], "one": ["worker"], "two": ["worker"]}
    told = {"hub": "lab", "engine": "swarm", "storage": {"homes": {"path": str(place), "share": "mounted"}, **storage}}
    return Config.model_validate(
        {**told, "machines": {name: {"ssh": name, "roles": roles} for name, roles in machines.items()}}
    )


class Told:
    """A machine on which steps end as told; ``done``: which were taken."""

    def __init__(self, **steps: Any) -> None:
        self.steps: Mapping[str, Any] = {"make": (NAME, FINE), "write": FINE, "remove": None, **steps}
        self.done: list[str] = []

    def homes_trial(self, step: str, **given: Any) -> Any:
        self.done.append(step)
        if step == "read" and "read" not in self.steps:
            return dict.fromkeys(given["words"], FINE)
        return self.steps[step]


def found(hub: Told | None = None, one: Told | None = None) -> tuple[str, str]:
    """Level and text of the one finding."""
    machines: Any = {"hub1": hub or Told(), "one": one or Told(), "two": Told()}
    (finding,) = homeschecks.tried(config(), machines)
    return finding.level, finding.text


@needs.root()
@pytest.mark.parametrize(
    ("owner", "uid", "gid"),
    [
        ({}, 99_999, 99_999),
        ({"range": "200000-209999"}, 209_999, 209_999),
        ({"uid": 4321, "gid": 5432}, 4321, 5432),
        ({"tas": {"url": "https://tas.example.edu", "account": "hub"}}, 99_999, 99_999),
    ],
)
def test_it_is_tried_with_an_id_that_people_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: dict[str, Any], uid: int, gid: int
) -> None:
    """On a real directory; the machines are this one."""
    seen: list[tuple[int, int]] = []
    step_of = LocalMachine.homes_trial

    def look(machine: LocalMachine, step: str, **given: Any) -> Any:
        if step == "remove":
            files = [file.stat() for file in Path(given["place"], given["name"]).iterdir()]
            seen.extend((one.st_uid, one.st_gid) for one in files)
        return step_of(machine, step, **given)

    monkeypatch.setattr(LocalMachine, "homes_trial", look)
    machines = {name: LocalMachine(name) for name in ("hub1", "one", "two")}
    (finding,) = homeschecks.tried(config(tmp_path, owner=owner), machines)
    assert (finding.level, seen) == ("ok", [(uid, gid)] * 2)
    assert f"{tmp_path}: user id {uid} writes on one and two, and reads on each" in finding.text
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("failure", "words", "remedy"),
    [
        ((MAKE, errno.EROFS), "is mounted read-only", "mount -o remount,rw /srv/homes, there"),
        ((MAKE, errno.EACCES), "takes no directory from root (Permission denied)", "no_root_squash"),
        ((MAKE, OWNER), "takes what root makes for somebody else's", "no_root_squash"),
        ((GIVE, errno.EPERM), "cannot give them to user id 99999 (Operation not permitted)", "no_root_squash"),
        ((GIVE, OWNER), "cannot give them to user id 99999 (it goes on to belong to root)", "no_root_squash"),
        ((SEE, errno.EACCES), "cannot be entered by root", "mount it there"),
    ],
)
def test_where_homes_cannot_be_made(failure: tuple[str, int], words: str, remedy: str) -> None:
    hub = Told(make=("", failure))
    level, text = found(hub)
    assert (level, text.startswith("hub1: /srv/homes ")) == ("problem", True), text
    assert words in text
    assert remedy in text.partition("Try: ")[2]
    assert hub.done == ["make"]


@pytest.mark.parametrize(
    ("failure", "words", "remedy"),
    [
        ((WRITE, errno.EROFS), "/srv/homes is mounted read-only", "mount -o remount,rw /srv/homes, there"),
        ((WRITE, errno.EACCES), "user id 99999 cannot write there", "no all_squash"),
        ((WRITE, errno.ETIMEDOUT), "(no answer within 15 s)", "mount it there"),
        ((SEE, errno.ENOENT), "what hub1 makes in /srv/homes is not seen there", "the same file system on both"),
        ((SEE, OWNER), "belongs to somebody else there", "no all_squash"),
        ((SEE, errno.EACCES), "root does not get to homes", "chmod o+x /srv/homes, on hub1"),
    ],
)
def test_where_nobody_could_write(failure: tuple[str, int], words: str, remedy: str) -> None:
    hub = Told()
    level, text = found(hub, Told(write=failure))
    assert (level, text.startswith("one: ")) == ("problem", True), text
    assert words in text
    assert remedy in text.partition("Try: ")[2]
    assert hub.done == ["make", "remove"]


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (errno.ENOENT, "is not seen there within"),
        (CONTENT, "is not seen there within"),
        (OWNER, "belongs to somebody else there"),
        (errno.EACCES, "cannot be read there (Permission denied)"),
    ],
)
def test_where_others_files_are_not_read(why: int, words: str) -> None:
    hub = Told()
    level, text = found(hub, Told(read={"one": FINE, "two": (READ, why)}))
    assert (level, words in text) == ("problem", True), text
    assert text.startswith("one: what user id 99999 writes in /srv/homes on two ")
    assert hub.done == ["make", "remove"]


@pytest.mark.parametrize("why", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_one_keeps_nobody_from_a_deployment(why: int) -> None:
    assert found(Told(make=("", (MAKE, why))))[0] == "note"
    assert found(one=Told(write=(WRITE, why)))[0] == "note"


def test_it_is_removed_when_a_machine_is_lost_meanwhile() -> None:
    class Lost(Told):
        def homes_trial(self, step: str, **given: Any) -> Any:
            raise ConnectionError("gone")

    hub = Told()
    with pytest.raises(ConnectionError):
        found(hub, Lost())
    assert hub.done == ["make", "remove"]


def test_who_is_asked_nothing() -> None:
    for homes in ({"path": "/srv/homes", "share": "nfs"}, {"path": "/srv/homes"}, "none"):
        assert homeschecks.tried(Config.model_validate({"hub": "lab", "storage": {"homes": homes}}), {}) == []
