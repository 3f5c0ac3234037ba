"""Which addresses are whose on the network between machines."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.config.fleet import MOST_SERVERS, Fleet, addresses


@given(servers=st.integers(1, MOST_SERVERS), hub=st.text("abcdefgh.-", min_size=1, max_size=20))
def test_there_are_twice_as_many_as_servers_and_none_is_the_hubs_own(servers: int, hub: str) -> None:
    found = addresses(hub, Fleet(servers=servers))
    subnet, own, free = (IPv4Network(text) for text in (found.subnet, found.own, found.servers))
    assert free.num_addresses - 2 >= 2 * servers
    assert own.subnet_of(subnet)
    assert free.subnet_of(subnet)
    assert not own.overlaps(free)
    assert subnet.subnet_of(IPv4Network("10.192.0.0/10"))
    named = (found.hub, found.proxy, found.launcher, found.storage)
    assert len(set(named)) == len(named)
    assert all(IPv4Address(text) in own for text in named)
    assert addresses(hub, Fleet(servers=servers)) == found


@pytest.mark.parametrize(("servers", "prefix"), [(1, 23), (127, 22), (220, 22), (1000, 20), (8000, 17)])
def test_it_is_no_larger_than_it_has_to_be(servers: int, prefix: int) -> None:
    assert addresses("a", Fleet(servers=servers)).subnet.endswith(f"/{prefix}")


def test_a_subnet_that_somebody_has_chosen() -> None:
    found = addresses("a", Fleet(servers=220, subnet="10.9.0.0/21"))
    assert (found.subnet, found.own, found.servers) == ("10.9.0.0/21", "10.9.0.0/26", "10.9.4.0/22")
    assert (found.hub, found.proxy, found.launcher) == ("10.9.0.2", "10.9.0.3", "10.9.0.4")
