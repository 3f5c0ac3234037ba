"""Which machines of earlier deployments are tidied up, and what stays until its replacement runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import needs
from hubfleet.cli.moving import Former, find_former, still_serving, way
from hubfleet.config import Config
from hubfleet.layout import Layout
from hubfleet.machines import LocalMachine
from hubfleet.plan import Desired, Generations, Manifest, Plan
from hubfleet.resources import Container, File, Resource, SwarmMember

HUB1 = LocalMachine("hub1")
NOWHERE = {"ssh": "root@127.0.0.1:1", "roles": ["edge"]}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("physics101", tmp_path, privileged=True)


def config(**machines: object) -> Config:
    return Config.model_validate({"hub": "physics101", "engine": "docker", "machines": machines})


def test_ssh_is_told_of_a_configuration_and_a_key_of_ones_own() -> None:
    given = {"plain": {}, "own": {"ssh_config": "/a/ssh_config"}, "key": {"ssh_key": "/a/hub.key"}}
    machines = config(**{name: {"ssh": "root@hub1", **more} for name, more in given.items()}).machines
    ways = {name: way(settings) for name, settings in machines.items()}
    assert ways["plain"] == ("root@hub1", ())
    assert ways["own"] == ("root@hub1", ("-F", "/a/ssh_config"))
    assert ways["key"] == ("root@hub1", ("-i", "/a/hub.key", "-o", "IdentitiesOnly=yes"))


def deployed(layout: Layout, *, front: str = "front", more: tuple[Resource, ...] = ()) -> Generations:
    """A deployment of earlier, with the hub on hub1 and the edge on another machine, which has ``more``."""
    then = config(hub1={"ssh": "hub1", "roles": ["hub"]}, **{front: NOWHERE})
    here: tuple[Resource, ...] = (
        File(str(layout.hub_dir / "hub.json"), "{}"),
        File(str(layout.launcher_dir / "launcher.json"), json.dumps({"config": then.dump()})),
    )
    there: tuple[Resource, ...] = (
        File(str(layout.called), f"{front}\n"),
        Container("hubfleet-physics101-edge", "hubfleet/hub:1", ("caddy",), reads=("/a/caddy.json",), network="net"),
        *more,
    )
    generations = Generations(layout.state)
    layout.state.mkdir()
    desired = Desired("physics101", layout.state, {"hub1": here, front: there})
    generations.switch(generations.begin(Plan("physics101", (), (), desired)))
    return generations


def former(layout: Layout, generations: Generations, machine: LocalMachine = HUB1) -> Former:
    now = config(**{machine.name: {"ssh": "hub1"}})
    return find_former(now, layout, machine, {}, generations, generations.known().resources)


@needs.command("ssh", package="openssh-client")
def test_one_that_cannot_be_reached_is_told_and_left(layout: Layout) -> None:
    found = former(layout, deployed(layout))
    assert found.machines == {}
    (note,) = found.notes
    assert note.startswith("front cannot be reached (")
    assert note.endswith("docker rm --force hubfleet-physics101-edge, there")


@needs.command("ssh", package="openssh-client")
def test_of_a_worker_that_cannot_be_reached_it_is_said_what_it_has(layout: Layout) -> None:
    member = SwarmMember("physics101", "hub1", "10.0.0.10", "10.0.0.11", "front")
    guard = Container("hubfleet-physics101-guard", "hubfleet/hub:1", ("guard",))
    (note,) = former(layout, deployed(layout, more=(guard, member))).notes
    assert note.endswith(
        "docker rm --force hubfleet-physics101-edge hubfleet-physics101-guard and "
        "docker swarm leave --force (unless other hubs have servers there), there"
    )


def test_one_that_is_here_under_another_name_is_left_alone(layout: Layout) -> None:
    generations = deployed(layout)
    layout.called.write_text("front\n")  # as if hub1 were what was called front
    assert former(layout, generations) == Former()


@needs.command("ssh", package="openssh-client")
def test_a_new_name_for_the_hubs_machine_makes_no_other_of_it(layout: Layout) -> None:
    found = former(layout, deployed(layout), LocalMachine("main"))
    assert [note.partition(" ")[0] for note in found.notes] == ["front"]


def test_what_people_come_in_by_stays_with_all_that_it_needs(layout: Layout) -> None:
    known = deployed(layout).known()
    desired = Desired("physics101", layout.state, {"hub1": known.resources["hub1"]})
    doors = ("hubfleet-physics101-gate", "hubfleet-physics101-edge")
    assert still_serving(desired, known, doors, layout) == {
        "front": {
            "container:hubfleet-physics101-edge",
            "image:hubfleet/hub:1",
            "network:net",
            "file:/a/caddy.json",
            f"file:{layout.called}",
        }
    }
    assert still_serving(Desired("", layout.state, known.resources), known, doors, layout) == {}
    assert still_serving(desired, Manifest(), doors, layout) == {}
