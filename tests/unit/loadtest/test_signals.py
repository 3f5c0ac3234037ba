"""A load test listens to signals while it plays, and not longer."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from hubfleet.loadtest.play import _signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_mean_afterwards_what_they_meant_before(number: signal.Signals) -> None:
    heard: list[str] = []

    async def listen() -> None:
        told = asyncio.Event()
        with _signals(told.set):
            os.kill(os.getpid(), number)
            await asyncio.wait_for(told.wait(), 10)

    before = signal.signal(number, lambda *_: heard.append("own"))
    try:
        asyncio.run(listen())
        assert heard == []
        os.kill(os.getpid(), number)
        assert heard == ["own"]
    finally:
        signal.signal(number, before)
