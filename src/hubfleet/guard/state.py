"""What the guard says of itself, for whoever asks whether it works."""

from __future__ import annotations

import json
import time
from pathlib import Path

PLACE = Path("/tmp/guard.json")
LIMIT_S = 10.0
"""A guard that has said nothing for so long does not work."""


def say(problem: str, place: Path = PLACE) -> None:
    """``problem``: why the rules are not in force; empty: they are."""
    partial = place.with_suffix(".new")
    partial.write_text(json.dumps({"problem": problem, "at": time.monotonic()}))
    partial.rename(place)


def problem(place: Path = PLACE) -> str:
    """Why the rules are not in force, or nobody knows; empty: they are."""
    try:
        said = json.loads(place.read_text())
    except FileNotFoundError:
        return "the guard has not begun"
    silent = time.monotonic() - said["at"]
    return said["problem"] or (f"the guard has said nothing for {silent:.0f} s" if silent > LIMIT_S else "")
