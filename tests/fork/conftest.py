"""Hubs with both kinds of start, whose servers tell what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from forked import SETTINGS, environment, look_inside
from harness import RunningHub


@pytest.fixture(scope="session")
def running_fork_hub(new_hub: Callable[[str], RunningHub]) -> RunningHub:
    """Its servers are prepared up to the middle of their start."""
    hub = new_hub(SETTINGS)
    hub.up()
    look_inside(hub)
    return hub


@pytest.fixture(scope="session")
def running_importing_hub(new_hub: Callable[[str], RunningHub]) -> RunningHub:
    """Its servers are started from the beginning, with all they import loaded."""
    hub = new_hub(SETTINGS)
    hub.up()
    code = environment(hub) / "etc" / "jupyter" / "jupyter_server_config.py"
    code.write_text("# code may ask who it runs for\n")
    look_inside(hub)
    return hub


@pytest.fixture
def hub(running_fork_hub: RunningHub, hub_logs: list[Path]) -> RunningHub:
    """A running hub whose users choose by profile how their server starts."""
    hub_logs.append(running_fork_hub.logs)
    running_fork_hub.await_answer()
    return running_fork_hub
