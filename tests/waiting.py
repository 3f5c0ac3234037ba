"""Wait for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def soon(look: Callable[[], Answer], limit: float = 20.0) -> Answer:
    """Call ``look`` until it gives something true; fail after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while not (found := look()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
    return found
