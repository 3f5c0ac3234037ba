"""A project's machines: which one has the records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hubfleet.agent.store import Store
from hubfleet.cli import projectdeployment
from hubfleet.cli.projectdeployment import ProjectDeployment, opened
from hubfleet.cli.reading import Options
from hubfleet.errors import CheckError
from hubfleet.layout import ROOT_BASE, Layout
from hubfleet.machines import LocalMachine
from hubfleet.plan import Desired, Generations, Plan
from hubfleet.resources import Resource

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


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where all machines are, each in a directory of its name: nobody is asked by SSH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.setattr(
        projectdeployment, "reached", lambda name, settings: LocalMachine(name, Elsewhere(tmp_path / name))
    )
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
    state = Path(f"{place}{LAYOUT.state}")
    state.mkdir(parents=True)
    Path(f"{place}{LAYOUT.project_record}").write_text(json.dumps({"project": project}))
    generations = Generations(state)
    generations.switch(generations.begin(Plan("shop", (), (), Desired("shop", state, dict(made)))))


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
