"""Which ports the machines of a fleet need of each other: exactly these, before they are in a swarm."""

from __future__ import annotations

from typing import Any

import pytest

from hubfleet import link
from hubfleet.config import Config
from hubfleet.engines import engine
from hubfleet.resources import Opening, Resource, SwarmManager, SwarmMember
from hubfleet.resources.opening import ANYBODY
from sites import site

HUB, ONE, TWO, EDGE = "10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13"
ADDRESSES = {"hub1": HUB, "worker1": ONE, "worker2": TWO, "edge1": EDGE}


def config(fleet: dict[str, Any] | None = None, homes: Any = "none", **roles: list[str]) -> Config:
    machines = {
        name: {"ssh": f"root@{ADDRESSES[name]}", "private_ip": ADDRESSES[name], "roles": what}
        for name, what in roles.items()
    }
    told = {"hub": "lab", "engine": "swarm", "machines": machines, "network": {"fleet": fleet or {}}}
    return Config.model_validate({**told, "https": "self-signed", "storage": {"homes": homes}})


def openings(given: Config) -> dict[str, Opening]:
    return dict(engine("swarm").openings(given, site("lab", addresses=ADDRESSES)))


THREE = {"hub1": ["hub"], "worker1": ["worker"], "worker2": ["worker"]}


def test_members_reach_each_other_and_the_manager() -> None:
    found = openings(config({"encrypted": False}, **THREE))
    of_members = ["tcp/7946", "udp/4789", "udp/7946"]
    assert sorted(found["hub1"].ways) == sorted((who, what) for who in (ONE, TWO) for what in ("tcp/2377", *of_members))
    assert sorted(found["worker1"].ways) == sorted((who, what) for who in (HUB, TWO) for what in of_members)
    assert found["worker1"].published == ()
    assert found["hub1"].published == (
        (ONE, "tcp/7445"),
        (TWO, "tcp/7445"),
        (ANYBODY, "tcp/443"),
        (ANYBODY, "tcp/80"),
    )


def test_who_has_the_homes_is_a_member_and_lets_in_who_mounts_them() -> None:
    roles = {**THREE, "edge1": ["storage"]}
    shared = config({"encrypted": False}, {"path": "/srv/homes", "share": "nfs"}, **roles)
    found = openings(shared)["edge1"]
    assert {source for source, what in found.ways if what == "tcp/2049"} == {ONE, TWO}, "not the hub's machine"
    assert (HUB, "udp/4789") in found.ways
    assert (EDGE, "tcp/2377") in openings(shared)["hub1"].ways
    assert "tcp/2049" not in {what for name in THREE for _, what in openings(shared)[name].ways}
    assert "edge1" not in openings(config(**roles)), "no homes, nothing to do with it"


def test_encrypted_it_is_a_protocol_more() -> None:
    found = openings(config(**THREE))
    assert {way for way in found["worker2"].ways if way[1] == "esp"} == {(HUB, "esp"), (ONE, "esp")}


def test_an_edge_of_its_own_is_no_member() -> None:
    found = openings(config(**THREE, edge1=["edge"]))
    assert (found["edge1"].ways, found["edge1"].published) == ((), ((ANYBODY, "tcp/443"), (ANYBODY, "tcp/80")))
    assert EDGE not in {source for name in THREE for source, _ in found[name].ways}
    assert (EDGE, "tcp/7443") in found["hub1"].published
    assert ANYBODY not in {source for source, _ in found["hub1"].published}


def test_a_registry_of_the_sites_own_is_not_here() -> None:
    found = openings(config({"registry": "registry.example.edu/hubs"}, **THREE))
    assert "tcp/7445" not in {what for _, what in found["hub1"].published}


def test_one_machine_alone_lets_in_people_only() -> None:
    found = openings(config(hub1=["hub", "worker"]))
    assert (found["hub1"].ways, len(found["hub1"].published)) == ((), 2)


@pytest.mark.parametrize("name", ["docker", "local"])
def test_other_engines_have_one_machine(name: str) -> None:
    assert engine(name).openings(Config.model_validate({"hub": "lab", "engine": name}), site("lab")) == {}


def test_it_is_open_before_a_machine_joins() -> None:
    given = config(**THREE)
    facts = site("lab", addresses=ADDRESSES, hub_address=HUB, registry=link.kept(None, name=HUB))
    found: dict[str, tuple[Resource, ...]] = {"hub1": engine("swarm").desired(given, facts)}
    found |= engine("swarm").desired_elsewhere(given, facts)
    for name, resources in found.items():
        (opening,) = [one for one in resources if isinstance(one, Opening)]
        assert opening == openings(given)[name]
        swarm = next(one for one in resources if isinstance(one, (SwarmManager, SwarmMember)))
        assert resources.index(opening) < resources.index(swarm)
        assert opening.stage("create") < SwarmMember("lab", "hub1", HUB, ONE, "worker1").stage("create")
