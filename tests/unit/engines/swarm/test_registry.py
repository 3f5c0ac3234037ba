"""What machines of a fleet want of a registry that the file names for their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubfleet.config import Config
from hubfleet.engines import engine
from hubfleet.link import Link
from hubfleet.resources import Container, File, ImageGiven, ImageTaken, Resource
from sites import site

ADDRESSES = {"hub1": "10.0.0.10", "worker1": "10.0.0.11"}
PLACE = "/etc/docker/certs.d"


def wanted(**network: Any) -> dict[str, tuple[Resource, ...]]:
    roles = {"hub1": ["hub"], "worker1": ["worker"]}
    machines = {name: {"ssh": f"root@{ADDRESSES[name]}", "roles": one} for name, one in roles.items()}
    told = {"hub": "physics101", "engine": "swarm", "machines": machines, "login": {"password": "file"}}
    homes = {"homes": {"path": "/srv/homes", "share": "mounted"}}
    config = Config.model_validate({**told, "storage": homes, "https": "self-signed", "network": network})
    facts = site(addresses=ADDRESSES, hub_address="10.0.0.10", registry=Link("a", "b", "c", "d"))
    swarm = engine("swarm")
    return {"hub1": swarm.desired(config, facts), **swarm.desired_elsewhere(config, facts)}


def trusted(there: tuple[Resource, ...]) -> dict[str, str]:
    return {one.path: one.content for one in there if isinstance(one, File) and one.path.startswith(PLACE)}


@pytest.mark.parametrize(
    ("name", "folder"),
    [("registry.example.edu/hubs", "registry.example.edu"), ("10.0.0.5:5000", "10.0.0.5:5000")],
)
def test_all_images_go_by_it_and_its_authority_is_known_on_each_machine(tmp_path: Path, name: str, folder: str) -> None:
    (tmp_path / "site-ca.crt").write_text("the site's\n")
    found = wanted(fleet={"registry": name}, ca_bundle=str(tmp_path / "site-ca.crt"))
    for there in found.values():
        assert trusted(there) == {f"{PLACE}/{folder}/hubfleet-physics101.crt": "the site's\n"}
        kinds = [type(one) for one in there]
        assert kinds.index(File) < min(kinds.index(kind) for kind in (ImageGiven, ImageTaken) if kind in kinds)
    given = {one.reference for one in found["hub1"] if isinstance(one, ImageGiven)}
    taken = {one.reference for one in found["worker1"] if isinstance(one, ImageTaken)}
    assert given == taken != set()
    assert all(one.startswith(f"{name}/hubfleet/") for one in given)
    assert not [one.name for one in found["hub1"] if isinstance(one, Container) and "registry" in one.name]


def test_one_that_everybody_trusts_needs_nothing_of_ours() -> None:
    assert [trusted(there) for there in wanted(fleet={"registry": "registry.example.edu"}).values()] == [{}, {}]


def test_the_fleets_own_is_known_as_ever(tmp_path: Path) -> None:
    (tmp_path / "site-ca.crt").write_text("the site's\n")
    for there in wanted(ca_bundle=str(tmp_path / "site-ca.crt")).values():
        assert {Path(path).name for path in trusted(there)} == {"ca.crt", "client.cert", "client.key"}
        assert "the site's\n" not in trusted(there).values()
