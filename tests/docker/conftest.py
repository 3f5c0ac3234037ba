"""What the tests of this group share."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator, Iterator

import dockerd
import pytest
import pytest_asyncio
from containers import House
from images import user_image

from hubfleet.engines.docker.launch import DockerLaunch


@pytest.fixture(scope="session")
def engine() -> Iterator[dockerd.Dockerd]:
    """A Docker engine with the base image."""
    with dockerd.shared() as running:
        yield running


@pytest.fixture
def reach(engine: dockerd.Dockerd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent in this process finds the engine of the tests."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.socket}")


@pytest.fixture
def builds(engine: dockerd.Dockerd) -> Iterator[None]:
    """For a test that builds by way of the agent."""
    with (engine.place / "builds").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@pytest.fixture
def builds_alone(engine: dockerd.Dockerd) -> Iterator[None]:
    """For a test of what is removed after a build: nothing is while another process builds."""
    with (engine.place / "builds").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def image(engine: dockerd.Dockerd) -> str:
    """The image of users' servers."""
    return user_image(engine)


@pytest_asyncio.fixture
async def house(engine: dockerd.Dockerd, image: str) -> AsyncIterator[House]:
    """A hub's places, with a hub that answers."""
    made = House(engine, image)
    try:
        async with made.hub_answers():
            yield made
    finally:
        made.remove()


@pytest_asyncio.fixture
async def launch(house: House) -> AsyncIterator[DockerLaunch]:
    """What the launcher has for this hub."""
    made = house.launch()
    await made.open()
    yield made
    await made.close()
