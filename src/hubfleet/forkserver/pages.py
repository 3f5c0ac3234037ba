"""Keeps the memory of a process shared with its forks: they copy each page that either of them writes to."""

from __future__ import annotations

import gc
import itertools
import sys
from typing import Any

LARGEST = 512  # bytes: larger objects are not made by Python's own allocator
STEP = 16  # between its sizes
RUN = 16_000  # bytes of objects that lie side by side only on pages that were empty

_kept: list[list[Any]] = []


def settle() -> None:
    """Call this once before the first fork, when all is loaded."""
    gc.collect()
    # Each of its entries holds a name: a fork that finds another attribute would write to the old name's page too.
    sys._clear_type_cache()
    fill_holes()
    gc.freeze()


def fill_holes() -> None:
    """Put objects into every hole between those that are there.

    A fork's own objects then lie side by side on pages of its own, and not each on a page that would stay shared.
    """
    for size in range(STEP, LARGEST + 1, STEP):
        while True:
            run = _objects(size, RUN // size)
            _kept.append(run)
            together = sum(after - before == size for before, after in itertools.pairwise(map(id, run)))
            if together > 0.9 * len(run):
                break


def _objects(size: int, number: int) -> list[Any]:
    """So many objects, each of so many bytes."""
    if size < STEP * 2:
        return [object() for _ in itertools.repeat(None, number)]
    if size < STEP * 3:
        return [float(one) for one in range(number)]
    least = sys.getsizeof(b"")
    return [bytes(size - least) for _ in itertools.repeat(None, number)]
