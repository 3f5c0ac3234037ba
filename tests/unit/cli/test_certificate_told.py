"""What `hubfleet status` tells of the certificate that people are shown."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hubfleet.certificates import Certificate
from hubfleet.cli.deployment import Deployment
from hubfleet.cli.status import look_at_certificate
from pairs import NAME


def told(kind: str, shown: Certificate | OSError | None, problems: tuple[str, ...] = ()) -> dict[str, Any]:
    """What is found where this certificate is shown."""

    def certificate() -> Certificate | None:
        if isinstance(shown, OSError):
            raise shown
        return shown

    config = SimpleNamespace(https_kind=kind)
    deployment = SimpleNamespace(certificate=certificate, url=f"https://{NAME}", config=config)
    found: dict[str, Any] = {"certificate": None, "problems": list(problems), "warnings": []}
    look_at_certificate(cast(Deployment, deployment), found)
    return found


def good_for(days: float, *names: str) -> Certificate:
    now = datetime.now(timezone.utc)
    return Certificate(names or (NAME,), now - timedelta(days=100), now + timedelta(days=days))


@pytest.mark.parametrize(
    ("kind", "days", "warnings", "problems"),
    [
        ("auto", 60.5, [], []),
        ("auto", 21.5, [], []),
        ("auto", 20.5, ["the certificate expires in 20 days; see: hubfleet logs edge"], []),
        ("self-signed", 1.5, ["the certificate expires in 1 day; see: hubfleet logs edge"], []),
        (
            "certificate",
            20.5,
            ["the certificate expires in 20 days; put a new one into its place, then: hubfleet up"],
            [],
        ),
        (
            "certificate",
            -2.5,
            [],
            ["the certificate expired 2 days ago; put a new one into its place, then: hubfleet up"],
        ),
    ],
)
def test_days(kind: str, days: float, warnings: list[str], problems: list[str]) -> None:
    found = told(kind, good_for(days))
    assert (found["warnings"], found["problems"]) == (warnings, problems)
    assert found["certificate"]["names"] == [NAME]
    assert found["certificate"]["days_left"] == int(days)


def test_one_for_another_name_or_none_at_all() -> None:
    assert told("auto", good_for(60, "hubfleet.invalid"))["problems"] == [
        f"there is no certificate for {NAME}, so browsers warn; see: hubfleet logs edge"
    ]
    refused = ConnectionRefusedError(111, "Connection refused")
    (problem,) = told("auto", refused)["problems"]
    assert problem.startswith(f"no certificate is shown at https://{NAME} (")
    assert told("auto", refused, ("edge is down",))["problems"] == ["edge is down"], "which tells why"
    assert told("off", None) == {"certificate": None, "problems": [], "warnings": []}
