"""Deleting a directory deletes that, and nothing that it only leads to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import needs
from hubfleet.agent.store import Store
from hubfleet.errors import CheckError


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """Somebody else's; the directory to be deleted has links to it and to its file."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "file").write_text("kept")
    (tmp_path / "doomed" / "inner" / "deep").mkdir(parents=True)
    (tmp_path / "doomed" / ".hidden").mkdir()
    os.symlink(tmp_path / "beside", tmp_path / "doomed" / "link")
    os.symlink(tmp_path / "beside" / "file", tmp_path / "doomed" / "inner" / "link")
    return tmp_path / "beside"


def test_links_inside_are_deleted_and_not_followed(beside: Path) -> None:
    store, doomed = Store(), beside.with_name("doomed")
    measured = store.measure(str(doomed))
    assert measured is not None
    assert (measured["directories"], measured["link"], measured["mounted"]) == (1, False, [])
    store.erase(str(doomed))
    assert not doomed.exists()
    assert (beside / "file").read_text() == "kept"
    store.erase(str(doomed))  # what is gone is success
    assert store.measure(str(doomed)) is None


def test_a_path_that_leads_by_a_link_is_refused(beside: Path) -> None:
    store, link = Store(), beside.with_name("link")
    os.symlink(beside, link)
    (beside / "inner").mkdir()
    for path in (link, link / "inner"):
        measured = store.measure(str(path))
        assert measured is not None
        assert measured["link"]
        with pytest.raises(CheckError, match="link"):
            store.erase(str(path))
    assert (beside / "file").read_text() == "kept"


@pytest.fixture
def mounted(beside: Path) -> Iterator[Path]:
    """The other directory is mounted inside: the same file system, so that its number tells nothing."""
    place = beside.with_name("doomed") / "inner" / "deep"
    subprocess.run(["mount", "--bind", beside, place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@needs.root()
def test_what_is_mounted_inside_is_not_deleted(mounted: Path, beside: Path) -> None:
    doomed = beside.with_name("doomed")
    measured = Store().measure(str(doomed))
    assert measured is not None
    assert measured["mounted"] == [str(mounted)]
    with pytest.raises(CheckError, match="mounted"):
        Store().erase(str(doomed))
    assert (beside / "file").read_text() == "kept"
    assert (doomed / ".hidden").exists()


@needs.root()
def test_a_disk_that_is_mounted_there_is_emptied_and_stays(mounted: Path, beside: Path) -> None:
    Store().erase(str(mounted))
    measured = Store().measure(str(mounted))
    assert measured is not None
    assert measured["mounted"] == [str(mounted)]
    assert list(beside.iterdir()) == []
