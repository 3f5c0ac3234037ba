"""What is said of machines that are to become one fleet, before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from hubfleet import fleetchecks
from hubfleet.checks import failures
from hubfleet.config import Config
from hubfleet.machines import LocalMachine
from hubfleet.resources import Observed, Opening, Resource

BRIDGE = "172.17.0.1"
HAS = {"hub1": ["203.0.113.10", "10.0.0.10", BRIDGE], "worker1": ["10.0.0.11", "2001:db8::11", BRIDGE]}


def said(ssh: str = "ubuntu@203.0.113.10", **has: list[str]) -> list[str]:
    """Of a fleet whose hub's machine is reached so, and whose worker has a private address."""
    machines: dict[str, Any] = {
        "hub1": {"ssh": ssh, "roles": ["hub"]},
        "worker1": {"ssh": "ubuntu@worker1.example.edu", "private_ip": "10.0.0.11", "roles": ["worker"]},
    }
    config = Config.model_validate({"hub": "physics101", "engine": "swarm", "machines": machines})
    wanted = {"hub1": ssh.partition("@")[2], "worker1": "10.0.0.11"}
    found = list(fleetchecks.meet(config, wanted, {**HAS, **has}))
    assert failures(found) == found
    return [finding.text for finding in found]


def test_machines_meet_at_addresses_that_they_have() -> None:
    assert said() == []
    assert said("ubuntu@10.0.0.10") == []


@pytest.mark.parametrize("where", ["hub1.example.edu", "198.51.100.7"])
def test_what_ssh_connects_to_may_be_a_name_or_an_address_that_is_translated(where: str) -> None:
    (text,) = said(f"ubuntu@{where}")
    assert text == (
        f"hub1 has no IPv4 address {where} of its own, which is where ssh connects to: the others are to find it at "
        "one that it has. Try: machines.hub1.private_ip: one of 10.0.0.10, 203.0.113.10"
    )


def test_a_private_address_is_the_machines_own() -> None:
    (text,) = said(worker1=["10.0.0.12", "2001:db8::11", BRIDGE])
    assert text == (
        "worker1 has no IPv4 address 10.0.0.11 of its own. Try: machines.worker1.private_ip: one of 10.0.0.12"
    )
    (text,) = said(worker1=["2001:db8::11", BRIDGE])
    assert text.endswith("Try: machines.worker1.private_ip: an IPv4 address, which it has to be given first")


def test_an_address_that_two_machines_have_tells_them_not_apart() -> None:
    (text,) = said(worker1=["10.0.0.10", "10.0.0.11"], hub1=["10.0.0.10", "10.0.0.9"], ssh="ubuntu@10.0.0.10")
    assert "one of 10.0.0.9" in text


class Translated(LocalMachine):
    """Its kernel would have to be asked by root; what it tells is as `tests/unit/agent/test_ways.py` has it."""

    def observe(self, resources: Sequence[Resource]) -> dict[str, Observed | None]:
        return {one.id: {"firewalls": {}, "unsaved": ""} for one in resources}

    def listen(self, mark: str) -> None:
        pass

    def call(self, mark: str, sender: str, targets: Sequence[Sequence[str]]) -> list[list[str]]:
        return []

    def heard(self, expected: Sequence[Sequence[str]]) -> list[list[str]]:
        return [["10.0.0.11", "tcp/2377"], ["10.0.0.11", "udp/4789", "172.30.0.1"]] if expected else []


def test_machines_whose_addresses_are_translated_are_told_so() -> None:
    opening = Opening("lab", (("10.0.0.11", "tcp/2377"), ("10.0.0.11", "udp/4789")))
    addresses = {"hub1": "10.0.0.10", "worker1": "10.0.0.11"}
    machines = {name: Translated(name) for name in addresses}
    (found,) = fleetchecks.ways({"hub1": opening}, addresses, machines)
    assert found.level == "problem"
    assert found.text.startswith(
        "worker1 (10.0.0.11) does not reach hub1 (10.0.0.10) at TCP 2377, UDP 4789: what it sends comes as from "
        "172.30.0.1. Try: have nothing translate addresses between them"
    )
