"""Hubs of their own for the groups that need them, and windows on them: made here, removed here."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import RunningHub
from playwright.sync_api import Browser, expect, sync_playwright
from windows import CHROMIUM, FLAGS, Window


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def window(browser: Browser) -> Iterator[Callable[[RunningHub], Window]]:
    """Opens windows; none of the hub's pages may leave an error in the console."""
    windows: list[Window] = []

    def new(hub: RunningHub) -> Window:
        windows.append(Window(browser, hub))
        return windows[-1]

    yield new
    for one in windows:
        one.context.close()
    assert [fault for one in windows for fault in one.faults] == []
