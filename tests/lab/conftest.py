"""What the tests of this group share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dockerd
import pytest
from machines import Lab, Machine

from hubfleet.machines import SSHMachine

Reach = Callable[..., SSHMachine]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Makes machines: ``lab.start("hub1")``. They end with the file that asked for them."""
    with dockerd.shared() as engine, tempfile.TemporaryDirectory() as place:
        made = Lab(engine, Path(place), owner=str(os.getpid()))
        yield made
        made.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """A directory for machines that see the same homes; what is in it belongs to many."""
    place = Path(tempfile.mkdtemp(prefix="hubfleet-homes-", dir="/srv"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def reach() -> Iterator[Reach]:
    """What hubfleet sees of a machine: ``reach(machine, "admin")``, by default as root."""
    with ExitStack() as made:

        def reach(machine: Machine, user: str = "root") -> SSHMachine:
            seen = SSHMachine(machine.name, f"{user}@{machine.address}", machine.options())
            made.callback(seen.close)
            return seen

        yield reach
