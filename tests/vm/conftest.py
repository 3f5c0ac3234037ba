"""What the tests of this group share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import guestimages
import pytest
from guests import Guests


@pytest.fixture(scope="session")
def plain() -> guestimages.Image:
    """Debian with systemd, sshd, and switched off: Docker, an NFS server. XFS and its tools are there."""
    return guestimages.image()


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    """Makes machines: ``guests.begin("store", plain)``. They end with the file that asked for them."""
    made = Guests(tmp_path_factory.mktemp("guests"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def consoles(guests: Guests, hub_logs: list[Path]) -> None:
    """What the machines said last is in the report of a failure."""
    hub_logs.extend(guest.console for guest in guests.all)
