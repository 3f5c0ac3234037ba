"""What an export is to be, compared with what a machine has; no server of NFS is asked."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from typing import Any

import pytest

from hubfleet.agent import converge
from hubfleet.errors import CheckError
from hubfleet.parcel import parcel
from hubfleet.resources import Export, from_json

EXPORT = Export("lab", "/srv/homes", ("10.0.0.12", "10.0.0.11"))
SERVED = ["rw", "sync", "wdelay", "secure", "root_squash", "no_subtree_check", "sec=sys"]
THERE: dict[str, Any] = {
    "installed": True,
    "ours": True,
    "running": True,
    "boots": True,
    "versions": ["-3", "+4", "+4.1", "+4.2"],
    "file": EXPORT.text,
    "served": {"10.0.0.11": SERVED, "10.0.0.12": SERVED},
    "others": [],
    "closed": "",
    "kernel": True,
}


def test_json_there_and_back_and_the_agent_that_is_sent_knows_it() -> None:
    assert from_json(json.loads(json.dumps(EXPORT.to_json()))) == EXPORT
    assert converge.handler(EXPORT.kind)
    names = zipfile.ZipFile(io.BytesIO(parcel())).namelist()
    assert {"hubfleet/agent/export.py", "hubfleet/resources/export.py"} <= set(names)


@pytest.mark.parametrize(
    "client", ["*", "", "10.0.0.0/8", "10.0.0.*", "worker1", "@all", "::1", "10.0.0.11(rw,no_root_squash)"]
)
def test_only_single_addresses_can_be_named(client: str) -> None:
    with pytest.raises(ValueError):
        Export("lab", "/srv/homes", ("10.0.0.11", client))


def test_nobody_is_not_everybody() -> None:
    with pytest.raises(ValueError, match="to nobody is one to everybody"):
        Export("lab", "/srv/homes", ())


def test_the_file_names_each_machine_with_what_it_may() -> None:
    first, line = EXPORT.text.splitlines()
    assert first.startswith("# Written by hubfleet")
    words = line.split()
    assert words[0] == '"/srv/homes"'
    assert [word.partition("(")[0] for word in words[1:]] == ["10.0.0.11", "10.0.0.12"]
    for word in words[1:]:
        options = word.partition("(")[2].rstrip(")").split(",")
        assert {"rw", "sync", "root_squash", "secure", "sec=sys"} <= set(options)
    assert Export("lab", "/srv/homes", ("10.0.0.12", "10.0.0.11")).text == EXPORT.text
    assert Export("other", "/srv/homes", EXPORT.clients).options != EXPORT.options


def test_what_belongs_on_a_disk_is_served_while_that_is_mounted_and_not_without() -> None:
    on_disk = replace(EXPORT, mounted=True)
    assert [",mountpoint," in word for word in on_disk.text.split() if "(" in word] == [True, True]
    assert "mountpoint" not in EXPORT.text
    # What machines have mounted stays the same when a disk comes to it, or is taken out of the file.
    assert on_disk.options[-1] == EXPORT.options[-1]
    assert from_json(json.loads(json.dumps(on_disk.to_json()))) == on_disk
    served = [*SERVED, "mountpoint"]
    there = {**THERE, "file": on_disk.text, "served": dict.fromkeys(EXPORT.clients, served)}
    assert on_disk.diff(there) is None
    change = on_disk.diff({**there, "served": {**there["served"], "10.0.0.11": SERVED}})
    assert change is not None
    assert change.detail == ("its options are put right",)
    # One from before a disk was there.
    change = on_disk.diff(THERE)
    assert change is not None
    assert change.detail[-1] == "is not exported while its disk is not mounted"


def test_what_is_as_wanted_is_left() -> None:
    assert EXPORT.diff(THERE) is None


@pytest.mark.parametrize(
    ("differs", "words"),
    [
        ({"installed": False}, "nfs-kernel-server is installed"),
        ({"file": "# by hand\n"}, "may be mounted by 10.0.0.11"),
        ({"served": {"10.0.0.11": SERVED}}, "may be mounted by 10.0.0.12"),
        ({"served": {**THERE["served"], "*": SERVED}}, "may be mounted by 10.0.0.12"),
        ({"served": {**THERE["served"], "10.0.0.12": ["rw", "no_root_squash"]}}, "its options are put right"),
        ({"served": {**THERE["served"], "10.0.0.12": ["no_root_squash", *SERVED]}}, "its options are put right"),
        ({"running": False}, "the server is started"),
        ({"versions": ["+3", "+4", "+4.1", "+4.2"]}, "the server is started"),
        ({"boots": False}, "started with the machine"),
    ],
)
def test_what_differs_is_put_right(differs: dict[str, Any], words: str) -> None:
    change = EXPORT.diff({**THERE, **differs})
    assert change is not None
    assert any(words in line for line in change.detail), change.detail


def test_a_server_that_others_have_set_up_keeps_its_versions() -> None:
    assert EXPORT.diff({**THERE, "ours": False, "versions": ["+3", "+4", "+4.1", "+4.2"]}) is None


@pytest.mark.parametrize(
    ("differs", "words"),
    [
        ({"kernel": False}, "kernel has no server of NFS"),
        ({"others": ["/etc/exports: /srv *(rw)"]}, r"open to others: /etc/exports: /srv \*"),
        ({"closed": "/srv"}, "/srv is closed"),
    ],
)
def test_what_no_change_could_put_right_is_refused(differs: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckError, match=words) as refused:
        EXPORT.diff({**THERE, **differs})
    assert refused.value.remedy


def test_it_is_removed_when_it_is_no_longer_wanted() -> None:
    change = EXPORT.removal(THERE)
    assert change is not None
    assert (change.action, "neither read nor save" in change.impact) == ("remove", True)
    assert EXPORT.removal(None) is None
    assert EXPORT.removal({**THERE, "file": ""}) is None
