"""Networks of containers on a real engine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

import dockerd
import pytest
from converging import converge, look, own, remove

import needs
from hubfleet.errors import ApplyError, CheckError
from hubfleet.resources import Network

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.usefixtures("reach"),
]


@pytest.fixture
def network(engine: dockerd.Dockerd) -> Iterator[Network]:
    made = Network(own("net"), f"hf{uuid.uuid4().hex[:8]}")
    yield made
    engine.docker("rm", "--force", made.name, check=False)
    engine.docker("network", "rm", made.name, check=False)


def test_it_is_made_and_removed(engine: dockerd.Dockerd, network: Network) -> None:
    converge(replace(network, isolated=True, subnet="172.31.250.0/29"))
    found = engine.inspect(network.name)
    assert found["IPAM"]["Config"][0]["Subnet"] == "172.31.250.0/29"
    assert found["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert found["Options"]["com.docker.network.bridge.name"] == network.bridge
    assert converge(replace(network, isolated=True)) is None  # the choice of the subnet was the engine's
    remove(network)


def test_one_that_differs_is_made_anew_unless_containers_are_on_it(engine: dockerd.Dockerd, network: Network) -> None:
    converge(network)
    inner = replace(network, internal=True)
    engine.docker("run", "--detach", "--name", network.name, "--network", network.name, dockerd.BASE, "sleep", "60")
    with pytest.raises(CheckError, match=rf"internal no -> yes.*containers are on it: {network.name}"):
        converge(inner)
    assert network.removal(look(network)) is None
    engine.docker("rm", "--force", network.name)
    change = converge(inner)
    assert change
    assert change.detail == ("it is made anew", "internal no -> yes")
    assert engine.inspect(network.name)["Internal"] is True


def test_of_two_names_that_begin_alike_each_is_its_own(engine: dockerd.Dockerd, network: Network) -> None:
    longer = Network(f"{network.name}-more", f"hf{uuid.uuid4().hex[:8]}")
    converge(longer)
    try:
        assert look(network) is None
    finally:
        remove(longer)


def test_the_engines_words_are_told_when_it_refuses(network: Network) -> None:
    with pytest.raises(ApplyError, match=r"Docker: .*999"):
        converge(replace(network, subnet="999.0.0.0/8"))
