"""Hubs for the tests of this folder. Making one takes half a minute, so most tests share one."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("harness", "cells", "disks")

from harness import RunningHub  # noqa: E402


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


@pytest.fixture(scope="session")
def shared_hub(new_hub: Callable[[str], RunningHub]) -> RunningHub:
    """One running hub with a class password, for tests that leave it as it was."""
    hub = new_hub("")
    hub.up()
    return hub


@pytest.fixture
def hub(shared_hub: RunningHub, hub_logs: list[Path]) -> RunningHub:
    """The shared hub, running; its logs are shown when the test fails."""
    hub_logs.append(shared_hub.logs)
    shared_hub.await_answer()
    return shared_hub
