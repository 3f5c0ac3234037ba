"""Hubs whose people a provider vouches for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import RunningHub
from places import RULES, Place
from visitors import callback
from windows import Window

from providers import OpenId, running


@pytest.fixture(scope="session")
def one_hub(new_hub: Callable[[str], RunningHub]) -> RunningHub:
    """For all files: to make one takes as long as all their tests. Each file deploys a provider of its own on it."""
    return new_hub("")


@pytest.fixture(scope="module")
def running_place(one_hub: RunningHub) -> Iterator[Place]:
    with running(OpenId()) as provider:
        hub = one_hub
        client, secret = provider.register(callback(hub))
        place = Place(hub, provider, client, secret)
        (hub.folder / "people.txt").write_text("dana\n")
        place.set(RULES)
        hub.told = hub.up()
        yield place


@pytest.fixture
def place(running_place: Place, hub_logs: list[Path]) -> Iterator[Place]:
    """A hub with rules of each kind. A test may change them: the next finds it as it was."""
    hub_logs.append(running_place.hub.logs)
    running_place.hub.await_answer()
    yield running_place
    settings = f"login:\n{running_place.login(RULES)}"
    people = running_place.hub.folder / "people.txt"
    if running_place.hub.settings != settings or people.read_text() != "dana\n":
        people.write_text("dana\n")
        running_place.set(RULES)
        running_place.hub.up()


@pytest.fixture
def mine(window: Callable[[RunningHub], Window], place: Place) -> Window:
    """A window on the hub."""
    return window(place.hub)
