"""A fork server that has grown is replaced, and what it has forked lives on."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from pathlib import Path

import pytest
from harness import RunningHub

import needs
from hubfleet.engines.local import specification
from hubfleet.forkserver.client import ForkServer

pytestmark = needs.root()


@pytest.mark.parametrize("growth", [0.5, 2.0])
async def test_a_parent_that_has_grown_is_replaced(
    hub: RunningHub, tmp_path: Path, growth: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hubfleet.forkserver")
    engine = json.loads((hub.state / "launcher" / "launcher.json").read_text())["engine"]
    settings = specification.Settings.from_json(engine)
    rehearsal = specification.rehearsal(settings)
    forks = ForkServer(settings.environment / "bin" / "python", tmp_path / "log", growth)
    forks.open(specification.fork_server(settings))
    try:
        first = await ready(forks, None)
        hearing, saying = os.pipe()
        with open(os.devnull, "wb") as output:  # noqa: ASYNC230 - nothing to wait for
            server = await forks.spawn(rehearsal, output.fileno(), saying)
        os.close(saying)
        os.close(hearing)
        assert server is not None
        os.kill(server, signal.SIGSTOP)
        if growth < 1:
            assert await ready(forks, first) != first
            assert "the fork server has grown too large and is replaced" in caplog.text
        else:
            assert forks.pid == first
            assert "grown" not in caplog.text
        os.kill(server, 0)
        os.kill(server, signal.SIGKILL)
    finally:
        await forks.close()


async def ready(forks: ForkServer, other_than: int | None) -> int:
    async def look() -> int:
        while forks.pid in (None, other_than):  # noqa: ASYNC110 - it changes within
            await asyncio.sleep(0.05)
        assert forks.pid is not None
        return forks.pid

    return await asyncio.wait_for(look(), 90)
