"""One fleet for all files of this folder: three machines take their time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dockerd
import pytest
from fleets import Fleet
from machines import Lab


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    with dockerd.shared() as engine, tempfile.TemporaryDirectory() as place:
        lab = Lab(engine, Path(place), owner=str(os.getpid()))
        try:
            made = Fleet(lab)
            yield made
            made.close()
        finally:
            lab.close()
