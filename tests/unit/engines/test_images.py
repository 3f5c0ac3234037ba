"""Which image whose server has: everybody's, or that of a profile, a group or a person."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hubfleet import networkchecks
from hubfleet.config import Config, effective
from hubfleet.config.belonging import Belonging
from hubfleet.engines import engine
from hubfleet.engines.docker.desired import desired_state
from hubfleet.engines.docker.specification import Settings
from hubfleet.engines.swarm.specification import Settings as SwarmSettings
from hubfleet.layout import Layout
from hubfleet.link import Link
from hubfleet.resources import Container, File, Image, ImageGiven, ImageTaken, Resource
from sites import site

R, GPU, OWN = "quay.io/jupyter/r-notebook:1", "quay.io/ours/gpu:2", "quay.io/ours/ada:3"
GITHUB = {"github": {"client_id": "a"}, "allow": {"everybody": True}}
PARTS: dict[str, Any] = {
    "login": GITHUB,
    "servers": {"profiles": {"gpu": {"image": GPU}, "again": {"image": R}}},
    "groups": {"stats": {"provider": ["edu/stats"], "servers": {"image": R}}},
    "users": {"ada": {"servers": {"image": OWN}}},
}
LINK = Link("a", "b", "c", "d")


def config(name: str = "docker", **more: Any) -> Config:
    return Config.model_validate({"hub": "physics101", "engine": name, "login": {"password": "file"}, **more})


def told(resources: tuple[Resource, ...]) -> dict[str, Any]:
    """What the launcher's engine is told."""
    [text] = [one.content for one in resources if isinstance(one, File) and one.path.endswith("launcher/launcher.json")]
    engine: dict[str, Any] = json.loads(text)["engine"]
    return engine


def test_the_last_one_that_names_an_image_wins() -> None:
    found, stats = config(**PARTS), Belonging.of(["edu/stats"], [])
    assert found.server_images() == ("debian:12-slim", GPU, R, OWN)
    assert [effective(found, *who).image for who in (("ben",), ("ben", "gpu"), ("ada",), ("ada", "gpu"))] == [
        *(None, GPU),
        *(OWN, GPU),
    ]
    assert effective(found, "ben", belonging=stats).image == R
    assert effective(found, "ada", belonging=stats).image == OWN


def test_there_is_an_image_for_each_and_the_launcher_knows_them() -> None:
    resources = desired_state(config(**PARTS), site())
    made = {one.base: one for one in resources if isinstance(one, Image) and one.label == "users"}
    assert list(made) == ["debian:12-slim", GPU, R, OWN]
    assert len({one.tag for one in made.values()}) == 4
    found = told(resources)
    assert found["image"] == made["debian:12-slim"].tag
    assert found["images"] == {base: made[base].tag for base in (GPU, R, OWN)}
    kinds = [type(one) for one in resources]
    assert kinds.index(Container) > max(place for place, kind in enumerate(kinds) if kind is Image)


def test_nothing_is_different_where_all_have_one_image() -> None:
    plain = desired_state(config(servers={"image": R}), site())
    assert "images" not in told(plain)
    same = desired_state(config(servers={"image": R}, groups={"stats": {"servers": {"image": R}}}), site())
    assert told(same)["image"] == told(plain)["image"]
    assert "images" not in told(same)


def test_a_server_is_made_of_its_image() -> None:
    found = told(desired_state(config(**PARTS), site()))
    settings = Settings.from_json({**found, "hub_gid": 991, "network": "n"})
    usual = effective(config(), "ben")
    assert settings.image_of(usual) == found["image"]
    assert settings.image_of(replace(usual, image=R)) == found["images"][R]


def fleet(**more: Any) -> Config:
    machines = {
        "hub1": {"ssh": "root@10.0.0.10", "roles": ["hub"]},
        "worker1": {"ssh": "root@10.0.0.11", "roles": ["worker"]},
    }
    storage = {"homes": {"path": "/srv/homes", "share": "mounted"}}
    return config("swarm", machines=machines, storage=storage, https="self-signed", **more)


def test_each_machine_with_servers_takes_all_images() -> None:
    given = fleet(**PARTS)
    place = site(addresses={"hub1": "10.0.0.10", "worker1": "10.0.0.11"}, hub_address="10.0.0.10", registry=LINK)
    place = replace(place, link=LINK, homes=LINK)
    swarm = engine("swarm")
    there, elsewhere = swarm.desired(given, place), swarm.desired_elsewhere(given, place)["worker1"]
    images = {one.base: one.tag for one in there if isinstance(one, Image) and one.label == "users"}
    assert list(images) == ["debian:12-slim", GPU, R, OWN]
    for resources, kind in ((there, ImageGiven), (elsewhere, ImageTaken)):
        references = {one.key for one in resources if isinstance(one, kind)}
        assert {f"10.0.0.10:{given.network.fleet.registry_port}/{tag}" for tag in images.values()} <= references
    found = told(there)
    assert set(found["images"]) == {GPU, R, OWN}
    settings = SwarmSettings.from_json({**found, "hub_gid": 991})
    assert settings.image_of(replace(effective(given, "ben"), image=GPU)).endswith(images[GPU])


def test_engine_local_has_no_images() -> None:
    place = site(layout=Layout.here("physics101"))
    problems = " ".join(engine("local").problems(config("local", **PARTS), place))
    for path in ("servers.profiles.gpu.image", "groups.stats.servers.image", "users.ada.servers.image"):
        assert path in problems


@pytest.mark.parametrize(
    ("image", "path"), [(R, "servers.profiles.again.image"), (OWN, "users.ada.servers.image"), ("x:1", "base_image")]
)
def test_an_image_that_cannot_be_had_is_named_by_its_setting(image: str, path: str) -> None:
    [found] = networkchecks.images(config(**PARTS), {image: ("absent", "why")}, docker=True)
    assert found.text.endswith(f"Try: correct {path}")
