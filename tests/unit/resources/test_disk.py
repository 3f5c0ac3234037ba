"""A disk for homes grows, hides nothing, and is never made smaller; what is done to a real one is tested in guests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hubfleet.agent import disk as agent
from hubfleet.agent.converge import observe
from hubfleet.errors import CheckError
from hubfleet.resources import Disk, from_json

G = 1024**3
WANTED = Disk("/srv/homes", "/srv/homes.disk", 500 * G)
THERE = {
    "file": 500 * G,
    "mounted": True,
    "other": "",
    "counts": True,
    "room": 500 * G - 4096,
    "holds": [],
    "boot": True,
    "tools": True,
}


def test_one_that_is_as_wanted_is_left_alone() -> None:
    assert WANTED.diff(THERE) is None
    assert WANTED.diff({**THERE, "file": 600 * G, "room": 600 * G}) is None, "as after going back to a generation"
    assert from_json(json.loads(json.dumps(WANTED.to_json()))) == WANTED


@pytest.mark.parametrize(
    ("seen", "lines"),
    [
        ({"mounted": False, "room": 0}, ["/srv/homes.disk is mounted at /srv/homes"]),
        ({"file": 300 * G, "room": 300 * G}, ["300G -> 500G"]),
        ({"room": 300 * G}, ["500G -> 500G"]),  # broken off between enlarging the file and what is in it
        ({"boot": False}, ["mounted when the machine starts"]),
    ],
)
def test_what_differs_is_mended(seen: dict[str, Any], lines: list[str]) -> None:
    change = WANTED.diff({**THERE, **seen})
    assert change is not None
    assert (change.action, list(change.detail)) == ("update", lines)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"mounted": False, "other": "ext4 (/dev/vdb)"}, r"ext4 \(/dev/vdb\) is mounted at /srv/homes"),
        ({"counts": False}, "mounted without project quotas.*Try: hubfleet down, umount /srv/homes, hubfleet up"),
        ({"file": None, "mounted": False, "holds": ["ada", "ben"]}, "holds ada, ben, which would be hidden"),
        ({"mounted": False, "holds": ["ada"]}, "holds ada, which would be hidden.*mv /srv/homes /srv/homes.before"),
    ],
)
def test_what_would_lose_or_hide_something_is_refused(seen: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckError, match=words):
        WANTED.diff({**THERE, **seen})


def test_it_goes_only_where_that_is_wanted() -> None:
    assert WANTED.removal(THERE) is None
    change = WANTED.end().removal(THERE)
    assert change is not None
    assert change.action == "remove"
    assert WANTED.end().removal(None) is None


def test_what_lies_in_the_directory_is_seen_but_for_our_own_files(tmp_path: Path) -> None:
    place = tmp_path / "homes"
    wanted = Disk(str(place), str(tmp_path / "homes.disk"), G)
    assert observe([wanted])[wanted.id] is None
    (place / ".hubfleet-archived").mkdir(parents=True)  # with archives in it
    (place / ".hubfleet-homes").write_text("Homes of hub a.\n")
    (place / "ada").mkdir()
    seen = observe([wanted])[wanted.id]
    assert seen is not None
    assert (seen["holds"], seen["file"], seen["mounted"]) == ([".hubfleet-archived", "ada"], None, False)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/srv/homes", "srv-homes.mount"),
        ("/var/lib/hubfleet/prod.my-hub/homes", r"var-lib-hubfleet-prod.my\x2dhub-homes.mount"),
        ("/srv/ä", r"srv-\xc3\xa4.mount"),
    ],
)
def test_its_unit_is_called_as_systemd_wants_it(path: str, unit: str) -> None:
    assert agent.unit_file(Disk(path, f"{path}.disk", G)).name == unit
