"""Names in a swarm, which takes fewer than one machine's engine does."""

from __future__ import annotations

import re

import pytest

from hubfleet.engines import contained
from hubfleet.engines.swarm.places import fleet_network, name_of

LONGEST = "a" * 40
TAKEN = re.compile(r"[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*")
"""What a swarm's networks and services may be called."""


@pytest.mark.parametrize("hub", ["physics101", "prod.physics", "jupyterhub.prod.designsafe", "a-b.c-d", LONGEST])
def test_a_swarm_takes_all_names_of_a_hub(hub: str) -> None:
    network, service = fleet_network(hub), name_of(hub, "ada")
    assert TAKEN.fullmatch(network)
    assert TAKEN.fullmatch(service)
    assert max(len(network), len(service)) <= 63
    assert len(f"{service}-{'0' * 12}") <= 64, "the secret of a start"


def test_hubs_have_names_of_their_own() -> None:
    hubs = [
        "a.b.c",
        "a-b.c",
        "a.b-c",
        LONGEST,
        f"{LONGEST[:-1]}b",
        "jupyterhub.prod.sd2e",
        "jupyterhub.prod.designsafe",
    ]
    assert len({fleet_network(hub) for hub in hubs}) == len(hubs)
    assert len({name_of(hub, "ada") for hub in hubs}) == len(hubs)


def test_a_short_name_without_dots_stays() -> None:
    assert fleet_network("physics101") == "hubfleet-physics101-fleet"
    assert name_of("physics101", "ada") == contained.name_of("physics101", "ada")
