"""A project's machines: which one has the records, and those that are not named any more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import needs
from hubfleet.agent.lock import Holder
from hubfleet.agent.store import Store
from hubfleet.cli import moving, projectcommands, projectdeployment, projectformer
from hubfleet.cli.belongings import ever_made
from hubfleet.cli.console import out
from hubfleet.cli.moving import Former
from hubfleet.cli.projectdeployment import ProjectDeployment, opened
from hubfleet.cli.projectformer import find_left
from hubfleet.cli.reading import Options
from hubfleet.errors import CancelledError_, CheckError
from hubfleet.layout import ROOT_BASE, Layout
from hubfleet.machines import LocalMachine
from hubfleet.plan import Desired, Generations, Plan
from hubfleet.resources import Container, File, Image, Network, Observed, Resource
from hubfleet.resources.dockerengine import STOPPED

LAYOUT = Layout("shop", ROOT_BASE, privileged=True)


class Elsewhere(Store):
    """The files of a machine, which are below a directory of this one."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def read(self, path: str) -> str | None:
        return super().read(f"{self.place}{path}")

    def names(self, path: str) -> list[str]:
        return super().names(f"{self.place}{path}")

    def pointed(self, path: str) -> str | None:
        return super().pointed(f"{self.place}{path}")

    def measure(self, path: str) -> dict[str, Any] | None:
        return super().measure(f"{self.place}{path}")


class EngineStopped(LocalMachine):
    """A machine whose engine does not run: nobody knows what it has."""

    def observe(self, resources: Sequence[Resource]) -> dict[str, Observed | None]:
        asked = (Container, Image, Network)
        return {item.id: STOPPED if isinstance(item, asked) else None for item in resources}

    def hold(self, directory: str) -> AbstractContextManager[Holder]:
        assert isinstance(self.store, Elsewhere)
        return super().hold(f"{self.store.place}{directory}")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where all machines are, each in a directory of its name: nobody is asked by SSH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    for module in (projectdeployment, projectformer):
        monkeypatch.setattr(module, "reached", lambda name, settings: LocalMachine(name, Elsewhere(tmp_path / name)))
    return tmp_path


def named(folder: Path, *machines: str) -> ProjectDeployment:
    """What the configuration is with these machines, in this order."""
    config: dict[str, Any] = {
        "project": "services",
        "name": "shop",
        "machines": {name: {"ssh": name, "roles": [name]} for name in machines},
        "services": {name: {"image": "nginx:1.27.2", "role": name} for name in machines},
    }
    (folder / "hubfleet.yaml").write_text(json.dumps(config))
    found = opened(Options(folder / "hubfleet.yaml"))
    assert found is not None
    return found


def record(place: Path, made: Mapping[str, tuple[Resource, ...]], project: str = "services") -> None:
    """A deployment of earlier, on the machine that is there."""
    machines = {name: {"ssh": f"root@127.0.0.1:{number}"} for number, name in enumerate(made, 1)}
    text = json.dumps({"project": project, "config": {"machines": machines}})
    mark = File(str(LAYOUT.project_record), text)
    state = Path(f"{place}{LAYOUT.state}")
    for name in made:
        file = Path(f"{place.parent / name}{LAYOUT.project_record}")
        file.parent.mkdir(parents=True)
        file.write_text(text)
    generations = Generations(state)
    wanted = Desired("shop", state, {name: (mark, *items) for name, items in made.items()})
    generations.switch(generations.begin(Plan("shop", (), (), wanted)))


def test_the_machine_with_the_records_is_the_first(places: Path) -> None:
    assert named(places, "data1", "web1").generations.current() == 0
    record(places / "web1", {"web1": (), "data1": ()})
    assert named(places, "web1", "data1").generations.current() == 1
    with pytest.raises(CheckError) as caught:
        named(places, "data1", "web1")
    assert str(caught.value) == (
        "the records of shop are on web1, and data1 is named first. Nothing was changed. "
        "Try: name web1 first, under machines"
    )


def test_what_another_machine_has_of_another_project_is_told_as_that(places: Path) -> None:
    record(places / "web1", {"web1": ()}, "notes")
    with pytest.raises(CheckError, match="shop on web1 is of project notes"):
        named(places, "data1", "web1")


def left(deployment: ProjectDeployment) -> Former:
    return find_left(deployment, ever_made(deployment.generations))


def test_a_machine_that_is_not_named_any_more_is_told_and_not_forgotten(places: Path) -> None:
    queue = Container("hubfleet-shop_queue", "hubfleet/shop_queue:1", ())
    record(places / "web1", {"web1": (), "data1": (queue,)})
    deployment = named(places, "web1")
    with out.capture() as told:
        projectcommands.down(deployment, yes=True)
    said = " ".join(told.get().split())
    assert "on data1 stays: what it has of shop, for the configuration does not name that machine. To stop" in said
    assert "name data1 under machines again, then hubfleet down" in said
    with pytest.raises(CheckError) as caught:
        projectcommands.delete_data(deployment, "shop")
    assert str(caught.value) == (
        "data1 still has data of shop, and the configuration does not name that machine: it would stay, and nothing "
        "would know of it. Nothing was deleted. Try: name data1 under machines again, then the same command"
    )
    assert left(named(places, "web1", "data1")) == Former()
    shutil.rmtree(places / "data1")
    assert left(deployment) == Former(), "it has nothing any more"


def test_of_one_that_has_data_only_nothing_is_told_by_down(places: Path) -> None:
    """It was left as the pages say: there is nothing to stop."""
    record(places / "web1", {"web1": (), "data1": ()})
    with out.capture() as told:
        projectcommands.down(named(places, "web1"), yes=True)
    assert told.get() == "Nothing of shop runs.\n"
    with pytest.raises(CheckError, match="data1 still has data of shop"):
        projectcommands.delete_data(named(places, "web1"), "shop")


def test_a_machine_of_another_name_is_none_that_was_left(places: Path) -> None:
    record(places / "web1", {"web1": ()})
    (places / "front").symlink_to(places / "web1")
    assert left(named(places, "front")) == Former()


@needs.command("ssh", package="openssh-client")
def test_of_one_that_cannot_be_reached_it_is_said_what_it_has(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Container("hubfleet-shop_queue", "hubfleet/shop_queue:1", ())
    record(places / "web1", {"web1": (), "data1": (queue,)})
    deployment = named(places, "web1")
    monkeypatch.setattr(projectformer, "reached", moving.reached)
    with out.capture() as told:
        projectcommands.down(deployment, yes=True)
    said = " ".join(told.get().split())
    assert "stays: data1 cannot be reached (" in said
    assert (
        "once it is back: docker rm --force hubfleet-shop_queue, there; its data is in /var/lib/hubfleet/shop" in said
    )


def test_while_the_engine_is_stopped_only_what_was_made_counts_as_there(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = EngineStopped("web1", Elsewhere(places / "web1"))
    monkeypatch.setattr(projectdeployment, "reached", lambda name, settings: made)
    with out.capture() as told:
        projectcommands.delete_data(named(places, "web1"), "shop")
    assert told.get() == "There is nothing of shop on web1.\n"
    assert not (places / "web1").exists(), "and nothing is left there of having looked"

    record(places / "web1", {"web1": (Container("hubfleet-shop_queue", "hubfleet/shop_queue:1", ()),)})
    with out.capture() as told, pytest.raises(CancelledError_):
        projectcommands.delete_data(named(places, "web1"), None)
    assert "1 container: hubfleet-shop_queue\n" in told.get()
