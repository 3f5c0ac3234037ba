"""Quantities: what is accepted, how it is printed, and what is said of anything else."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hubfleet.units import (
    MAX_BYTES,
    MAX_CORES,
    MAX_SECONDS,
    MIN_CORES,
    MIN_SECONDS,
    Bytes,
    Cores,
    Duration,
    Secret,
    UnitError,
    parse_bytes,
    parse_cores,
    parse_duration,
)


@pytest.mark.parametrize(
    ("raw", "size", "text"),
    [
        ("1G", 1024**3, "1G"),
        ("1.5G", 1536 * 1024**2, "1536M"),
        ("2048K", 2 * 1024**2, "2M"),
        (1000, 1000, "1000"),
    ],
)
def test_sizes(raw: object, size: int, text: str) -> None:
    assert parse_bytes(raw) == size
    assert str(parse_bytes(raw)) == f"{parse_bytes(raw)}" == text


@pytest.mark.parametrize(
    ("raw", "remedy"),
    [
        ("2gb ram", "use 2G"),
        ("512 mb", "use 512M"),
        ("512m", "use 512M"),
        ("-1", "use 2G"),
        (-1, "use 2G"),
        (0, "use 2G"),
        ("0", "use 2G"),
        (True, "use 2G"),
        ("0.3K", "use 2G"),
        ("9" * 5000, "use 2G"),
        (1.5, "use 2G"),
        (float("nan"), "use 2G"),
        ([], "use 2G"),
        ("٣G", "use 2G"),
    ],
)
def test_no_size(raw: object, remedy: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_bytes(raw)
    assert str(caught.value) == f"`{raw}` is not a size: {remedy}"


@pytest.mark.parametrize("raw", ["two", "-1", 0, "", "1e3", float("inf"), False, None, 5000])
def test_no_cores(raw: object) -> None:
    with pytest.raises(UnitError, match=r"is not a number of processor cores: use 2 or 0.5"):
        parse_cores(raw)


@pytest.mark.parametrize(
    ("raw", "seconds", "text"),
    [("2h", 7200, "2h"), ("1h30m", 5400, "90m"), (10, 10, "10s"), ("0.5s", 0.5, "0.5s"), ("1d", 86400, "1d")],
)
def test_durations(raw: object, seconds: float, text: str) -> None:
    assert parse_duration(raw) == seconds
    assert str(parse_duration(raw)) == text


@pytest.mark.parametrize(
    ("raw", "remedy"),
    [("2 hours", "use 2h"), ("soon", "use 2h"), (0, "use 2h"), ("-5m", "use 2h"), ("15min", "use 15m")],
)
def test_no_duration(raw: object, remedy: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_duration(raw)
    assert str(caught.value) == f"`{raw}` is not a length of time: {remedy}"


@given(some.integers(1, MAX_BYTES))
def test_a_printed_size_reads_back(number: int) -> None:
    assert parse_bytes(str(Bytes(number))) == number


@given(some.floats(MIN_CORES, MAX_CORES))
def test_printed_cores_read_back(number: float) -> None:
    assert parse_cores(str(Cores(number))) == number


@given(some.floats(MIN_SECONDS, MAX_SECONDS) | some.integers(1, 10**8).map(float))
def test_a_printed_duration_reads_back(number: float) -> None:
    assert parse_duration(str(Duration(number))) == number


@given(some.text(max_size=30) | some.floats() | some.integers())
def test_anything_else_is_a_unit_error(raw: object) -> None:
    for parse in (parse_bytes, parse_cores, parse_duration):
        try:
            parse(raw)
        except UnitError as error:
            assert error.remedy.startswith("use ")  # noqa: PT017


def test_a_secret_is_never_printed() -> None:
    secret = Secret("canary")
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>20}",
        "{}".format(secret),  # noqa: UP032
        repr([secret]),
        repr({secret}),
    ]
    assert not [text for text in shown if "canary" in text]
    assert secret.reveal() == "canary"
    assert secret == Secret("canary")
    assert secret != Secret("other")


def test_a_secret_cannot_be_written_by_accident() -> None:
    for write in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as caught:
            write(Secret("canary"))
        assert "canary" not in str(caught.value)
