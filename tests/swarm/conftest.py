"""What the tests of this group share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import dockerd
import pytest
import pytest_asyncio
from machines import Lab
from swarms import Fleet, House

from hubfleet.engines.swarm.launch import SwarmLaunch


@pytest.fixture(scope="session")
def machines() -> Iterator[Fleet]:
    """Three machines that are a swarm; each has the image of users' servers."""
    with dockerd.shared() as engine, tempfile.TemporaryDirectory() as place:
        shared = Path(tempfile.mkdtemp(prefix="hf-", dir="/tmp"))
        lab = Lab(engine, Path(place), owner=str(os.getpid()))
        try:
            yield Fleet(lab, shared)
        finally:
            lab.close()
            shutil.rmtree(shared, ignore_errors=True)


@pytest.fixture
def fleet(machines: Fleet) -> Fleet:
    """The same, all three there and ready."""
    machines.await_all()
    return machines


@pytest_asyncio.fixture
async def house(fleet: Fleet) -> AsyncIterator[House]:
    """A hub's places, with a hub that answers."""
    made = House(fleet)
    try:
        async with made.hub_answers():
            yield made
    finally:
        await made.close()
        made.remove()


@pytest_asyncio.fixture
async def launch(house: House) -> SwarmLaunch:
    """What the launcher has for this hub."""
    return await house.open()


@pytest_asyncio.fixture
async def away(house: House) -> SwarmLaunch:
    """The same, with servers on the workers only: what is done to these leaves the manager alone."""
    workers = f"node.hostname!={house.fleet.hub.name}"
    return await house.open(placement=(*house.settings.placement, workers))
