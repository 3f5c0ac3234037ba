"""Differences are pure and total; JSON goes there and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.errors import ApplyError, CheckError
from hubfleet.resources import Account, Directory, Environment, File, Resource, fingerprint, from_json

ENVIRONMENT = Environment(
    path="", label="hub", python="3.12", lock="a==1\nb==2\n", packages=("c",), copies=(("/src", "x"),)
).placed("/envs")
RESOURCES: list[Resource] = [
    Account("hub", "a hub"),
    Directory("/d", "hub"),
    File("/f", "text\n"),
    ENVIRONMENT,
]


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)
def test_json_there_and_back(resource: Resource) -> None:
    data = json.loads(json.dumps(resource.to_json()))
    assert from_json({**data, "field_of_a_later_version": 1}) == resource


def test_unknown_kind_is_named() -> None:
    with pytest.raises(ApplyError, match="unknown kind of resource 'tower'"):
        from_json({"kind": "tower"})


@given(st.text(max_size=50), st.text(max_size=50))
def test_file_differs_exactly_if_its_content_does(before: str, after: str) -> None:
    old, new = File("/f", before), File("/f", after)
    observed = {"type": "file", "owner": "root", "group": "root", "mode": 0o644, "unfinished": False}
    observed |= {"sha256": old.sha256, "content": before}
    assert (new.diff(observed) is None) == (before == after)


def test_secret_file_is_redacted_and_not_represented() -> None:
    secret = File("/f", "canary", secret=True)
    assert "canary" not in json.dumps(secret.redacted().to_json()) + repr(secret)
    assert secret.redacted().content == f"sha256:{secret.sha256}"


def test_account_of_a_person_is_refused() -> None:
    observed = {"uid": 1000, "comment": "", "shell": "/bin/bash", "group": "ann"}
    with pytest.raises(CheckError, match="ann exists and is not a system account"):
        Account("ann").diff(observed)


def test_environment_is_named_by_what_decides_its_content() -> None:
    from dataclasses import replace

    assert ENVIRONMENT.path == f"/envs/hub-{ENVIRONMENT.short}"
    assert replace(ENVIRONMENT, copies=(("/elsewhere", "x"),)).digest == ENVIRONMENT.digest
    for changed in ({"lock": "a==2\n"}, {"copies_digest": "1"}, {"python": "3.13"}, {"system_site": True}):
        assert replace(ENVIRONMENT, **changed).digest != ENVIRONMENT.digest


def test_environment_builds_what_is_incomplete_and_leaves_what_is_in_use() -> None:
    change = ENVIRONMENT.diff({"complete": False, "digest": "", "users": 0})
    assert change is not None
    assert change.action == "update"
    assert ENVIRONMENT.diff({"complete": True, "digest": ENVIRONMENT.digest, "users": 3}) is None
    assert ENVIRONMENT.removal({"complete": True, "digest": "", "users": 3}) is None
    assert ENVIRONMENT.removal({"complete": True, "digest": "", "users": 0}) is not None


def test_fingerprint_ignores_what_is_volatile() -> None:
    first, second = ({"complete": True, "digest": "", "users": users} for users in (0, 1))
    assert fingerprint(ENVIRONMENT, first) == fingerprint(ENVIRONMENT, second)
    assert fingerprint(ENVIRONMENT, None) == "absent"
    assert fingerprint(ENVIRONMENT, {"complete": False, "digest": "", "users": 0}) == "absent"
