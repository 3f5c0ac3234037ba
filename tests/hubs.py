"""Hubs of their own for the groups that need them: made here, removed here."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import RunningHub


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """A directory for state that other accounts can pass through, unlike pytest's own."""
    folder = Path(f"/var/lib/hubfleet-test-{secrets.token_hex(3)}" if os.geteuid() == 0 else f"/tmp/hft-{os.getpid()}")
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_hub(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RunningHub]]:
    """Makes hubs (not yet started) with the given settings; all are removed at the end."""
    made: list[RunningHub] = []

    def make(settings: str = "") -> RunningHub:
        made.append(RunningHub(base, tmp_path_factory.mktemp("hub"), settings=settings))
        return made[-1]

    yield make
    for hub in made:
        hub.remove()
