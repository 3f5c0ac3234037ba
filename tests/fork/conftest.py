"""One hub with both kinds of start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from forked import SETTINGS
from harness import RunningHub


@pytest.fixture(scope="session")
def running_fork_hub(new_hub: Callable[[str], RunningHub]) -> RunningHub:
    hub = new_hub(SETTINGS)
    config = hub.folder / "skel" / ".jupyter" / "jupyter_server_config.py"
    config.parent.mkdir(parents=True)
    config.write_text((Path(__file__).parent / "probe.py").read_text() + "\n\nwrite_early()\n")
    hub.up()
    return hub


@pytest.fixture
def hub(running_fork_hub: RunningHub, hub_logs: list[Path]) -> RunningHub:
    """A running hub whose users choose by profile how their server starts; their servers write `early.json`."""
    hub_logs.append(running_fork_hub.logs)
    running_fork_hub.await_answer()
    return running_fork_hub
