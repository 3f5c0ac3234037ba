"""How errors read, and the exit code of each."""

from __future__ import annotations

import pytest

from hubfleet import errors
from hubfleet.errors import ApplyError, ConfigError, ConfigErrors, HubfleetError


def test_all_parts_in_order() -> None:
    error = ApplyError("disk full", where="/srv", state="Nothing was changed", remedy="df -h /srv")
    assert str(error) == "/srv: disk full. Nothing was changed. Try: df -h /srv"


def test_absent_parts_are_left_out() -> None:
    assert str(HubfleetError("no hub")) == "no hub"
    assert str(HubfleetError("who?", remedy="-H NAME")) == "who? Try: -H NAME"


def test_several_problems_are_one_error_with_a_line_each() -> None:
    error = ConfigErrors([ConfigError("a", where="f:1"), ConfigError("b", where="f:2")])
    assert str(error) == "f:1: a\nf:2: b"
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("HubfleetError", 70),
        ("ConfigError", 2),
        ("CheckError", 3),
        ("ApplyError", 4),
        ("LockedError", 5),
        ("NotRunningError", 6),
        ("CancelledError_", 7),
        ("BrokenOff", 130),
    ],
)
def test_exit_codes(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code
