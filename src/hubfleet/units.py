"""Quantities with their units, and secrets. Text becomes one of these types where it enters the program.

Standard library only, and importable on Python 3.9: this file also runs on remote machines.
"""

from __future__ import annotations

import hmac
import math
import re
from decimal import Decimal
from typing import NoReturn

_SIZES = {"T": 1024**4, "G": 1024**3, "M": 1024**2, "K": 1024}
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)([KMGT]?)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])", re.ASCII)
_NEAR_SIZE = re.compile(r"\s*([1-9]\d*(?:\.\d+)?)\s*([kmgt])", re.ASCII | re.IGNORECASE)
_NEAR_DURATION = re.compile(r"\s*([1-9]\d*)\s*([dhms])", re.ASCII | re.IGNORECASE)

MAX_BYTES = 1024**5
MIN_CORES, MAX_CORES = 0.01, 4096.0
MIN_SECONDS, MAX_SECONDS = 0.001, 3650 * 86400.0


class UnitError(ValueError):
    """Text that is not a quantity. `what` says so, `remedy` is what to write ("use 2G")."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}: {remedy}")
        self.what = what
        self.remedy = remedy


class Bytes(int):
    """A size in bytes. K, M, G and T are powers of 1024, as in JupyterHub. `str()`: "1G", "512M"."""

    def __str__(self) -> str:
        for unit, size in _SIZES.items():
            if self and self % size == 0:
                return f"{int(self) // size}{unit}"
        return int.__repr__(self)


def rounded(size: int) -> str:
    """A number of bytes for people, in the units that limits are written in: "9.5G", "300M"."""
    for unit, factor in _SIZES.items():
        if size >= factor:
            return f"{size / factor:.1f}".removesuffix(".0") + unit
    return f"{size} bytes"


class Cores(float):
    """A number of processor cores. `str()` is canonical: "1", "1.5"."""

    def __str__(self) -> str:
        return _plain(self)


class Duration(float):
    """A length of time in seconds. `str()` is canonical: "2h", "90m", "0.5s"."""

    def __str__(self) -> str:
        for unit, seconds in _SECONDS.items():
            if self and self % seconds == 0:
                return f"{int(self) // seconds}{unit}"
        return f"{_plain(self)}s"


class Secret:
    """A text that is never printed: `repr()`, `str()` and `format()` give asterisks; `reveal()` gives it."""

    __slots__ = ("__text",)

    MASK = "********"

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The text itself. Hand it on by file descriptor or file, never as an argument of a process."""
        return self.__text

    def __repr__(self) -> str:
        return self.MASK

    def __format__(self, spec: str) -> str:
        return self.MASK

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__text.encode(), other.__text.encode())

    def __hash__(self) -> int:
        return hash(self.__text)

    def __reduce__(self) -> NoReturn:
        # Pickling (and copying through pickle) would write the text where nobody looks for it.
        raise TypeError("a Secret cannot be pickled or copied")


def parse_bytes(raw: object) -> Bytes:
    """A size such as "1G", "512M" or 1073741824. Raises UnitError unless above zero and whole."""
    text = _text(raw)
    match = _SIZE.fullmatch(text)
    if match:
        size = Decimal(match[1]) * _SIZES.get(match[2], 1)
        if size == int(size) and 0 < size <= MAX_BYTES:
            return Bytes(size)
    near = _NEAR_SIZE.match(text)
    raise UnitError(f"`{raw}` is not a size", f"use {near[1]}{near[2].upper()}" if near else "use 2G")


def parse_cores(raw: object) -> Cores:
    """A number of cores such as 2, "0.5". Raises UnitError outside 0.01 to 4096."""
    text = _text(raw)
    if _NUMBER.fullmatch(text) and MIN_CORES <= float(text) <= MAX_CORES:
        return Cores(text)
    raise UnitError(f"`{raw}` is not a number of processor cores", "use 2 or 0.5")


def parse_duration(raw: object) -> Duration:
    """A time such as "2h", "90m", "1h30m"; a bare number is in seconds. Raises UnitError for zero or less."""
    text = _text(raw)
    seconds = math.nan
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    elif _DURATION.fullmatch(text):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    if MIN_SECONDS <= seconds <= MAX_SECONDS:
        return Duration(seconds)
    near = _NEAR_DURATION.match(text)
    raise UnitError(f"`{raw}` is not a length of time", f"use {near[1]}{near[2].lower()}" if near else "use 2h")


def _text(raw: object) -> str:
    # A truth value is an integer in Python; here it is a mistake, and its name matches no pattern.
    if isinstance(raw, bool) or not isinstance(raw, (str, int, float)):
        return ""
    if isinstance(raw, (Bytes, Cores, Duration)):
        return str(raw)
    return _plain(raw) if isinstance(raw, float) else str(raw)


def _plain(number: float) -> str:
    """A float without exponent and without a trailing ".0"."""
    return float.__repr__(number).removesuffix(".0")
