"""Which machines of earlier deployments are tidied up, and what stays until its replacement runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import needs
from hubfleet.cli.moving import Former, find_former, still_serving
from hubfleet.config import Config
from hubfleet.layout import Layout
from hubfleet.machines import LocalMachine
from hubfleet.plan import Desired, Generations, Manifest, Plan
from hubfleet.resources import Container, File, Resource

HUB1 = LocalMachine("hub1")
NOWHERE = {"ssh": "root@127.0.0.1:1", "roles": ["edge"]}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("physics101", tmp_path, privileged=True)


def config(**machines: object) -> Config:
    return Config.model_validate({"hub": "physics101", "engine": "docker", "machines": machines})


def deployed(layout: Layout, *, front: str = "front") -> Generations:
    """A deployment of earlier, with the hub on hub1 and the edge on another machine."""
    then = config(hub1={"ssh": "hub1", "roles": ["hub"]}, **{front: NOWHERE})
    here: tuple[Resource, ...] = (
        File(str(layout.hub_dir / "hub.json"), "{}"),
        File(str(layout.launcher_dir / "launcher.json"), json.dumps({"config": then.dump()})),
    )
    there: tuple[Resource, ...] = (
        File(str(layout.called), f"{front}\n"),
        Container("hubfleet-physics101-edge", "hubfleet/hub:1", ("caddy",), reads=("/a/caddy.json",), network="net"),
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
