"""`hubfleet down --delete-data`: only after the hub's name was typed, and only what is this hub's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from command import Terminal, run
from hubfleet.cli.belongings import folders_elsewhere
from hubfleet.layout import Layout
from hubfleet.machines import LocalMachine
from hubfleet.resources import Directory, File, Resource

WRONG, NOT_HERE, SAID_NO = 2, 3, 7
HUB = "doomed-by-a-test"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Of a hub that has run, beside one of another hub, and with links to that."""
    (tmp_path / "hubfleet.yaml").write_text(f"hub: {HUB}\nlogin: {{password: file}}\n")
    state, other = tmp_path / "state" / HUB, tmp_path / "state" / "other"
    for name in ("homes/ada", "homes/bob", "hub", "run/servers"):
        (state / name).mkdir(parents=True)
    (state / "homes" / "ada" / "work").write_text("x" * 100_000)
    (other / "homes" / "ada").mkdir(parents=True)
    (other / "homes" / "ada" / "work").write_text("kept")
    os.symlink(other / "homes", state / "link")
    os.symlink(other / "homes" / "ada" / "work", state / "homes" / "ada" / "link")
    return state


def others(state: Path) -> str:
    return (state.with_name("other") / "homes" / "ada" / "work").read_text()


def test_it_tells_what_it_would_delete_and_deletes_nothing_where_nobody_can_be_asked(state: Path) -> None:
    done = run(state.parents[1], "down", "--delete-data", "--yes")
    assert done.code == SAID_NO
    assert "2 homes" in done.out
    assert str(state) in done.out
    assert "--yes-delete doomed-by-a-test" in done.err
    assert (state / "homes" / "ada" / "work").exists()


def test_another_name_deletes_nothing(state: Path) -> None:
    done = run(state.parents[1], "down", "--delete-data", "--yes-delete", "other")
    assert (done.code, "Nothing was deleted" in done.err) == (WRONG, True)
    terminal = Terminal(state.parents[1], "down", "--delete-data")
    terminal.await_text("type the hub's name: ")
    terminal.type("yes\n")
    assert terminal.end() == SAID_NO
    assert run(state.parents[1], "down", "--yes-delete", HUB).code == WRONG
    assert (state / "homes" / "ada" / "work").exists()


def test_its_name_deletes_all_of_it_and_nothing_beside(state: Path) -> None:
    terminal = Terminal(state.parents[1], "down", "--delete-data")
    terminal.await_text("type the hub's name: ")
    terminal.type(f"{HUB}\n")
    assert terminal.end() == 0, terminal.text
    assert sorted(entry.name for entry in state.parent.iterdir()) == ["other"]
    assert others(state) == "kept"
    again = run(state.parents[1], "down", "--delete-data", "--yes-delete", HUB)
    assert (again.code, "There is nothing of hub" in again.out) == (0, True)
    assert sorted(entry.name for entry in state.parent.iterdir()) == ["other"]


def test_one_that_was_killed_is_brought_to_its_end(state: Path) -> None:
    """When the records were gone, and the homes were not."""
    (state / "generations" / "0002").mkdir(parents=True)
    os.symlink("0002", state / "generations" / "current")
    done = run(state.parents[1], "down", "--delete-data", "--yes-delete", HUB)
    assert done.code == 0, done.err
    assert not state.exists()


def test_a_hub_whose_directory_is_a_link_is_left(state: Path) -> None:
    real = state.rename(state.with_name("elsewhere"))
    os.symlink(real, state)
    done = run(state.parents[1], "down", "--delete-data", "--yes-delete", HUB)
    assert (done.code, "leads by one" in done.err) == (NOT_HERE, True)
    assert (real / "homes" / "ada" / "work").exists()


def test_homes_elsewhere_go_whose_owners_a_service_has_named(state: Path, tmp_path: Path) -> None:
    """And those of others stay: of no person of this hub, or of somebody else's id."""
    homes = tmp_path / "elsewhere"
    for name in ("ada", "bob", "guest"):
        (homes / name).mkdir(parents=True)
        (homes / name / "work").write_text("x")
    (homes / ".hubfleet-homes").write_text(f"Homes of hub {HUB}.\n")
    (tmp_path / "hubfleet.yaml").write_text(f"hub: {HUB}\nstorage: {{homes: {{path: {homes}}}}}\n")
    (state / "launcher").mkdir()
    own = homes.stat().st_uid
    known = {"ada": {"uid": own, "gid": own}, "bob": {"uid": own + 1, "gid": own}}
    (state / "launcher" / "owners.json").write_text(json.dumps(known))
    done = run(tmp_path, "down", "--delete-data", "--yes-delete", HUB)
    assert done.code == 0, done.err
    assert "bob, guest, not this hub's" in " ".join(done.out.split())
    assert sorted(entry.name for entry in homes.iterdir() if not entry.name.startswith(".")) == ["bob", "guest"]
    assert not state.exists()


def test_a_directory_elsewhere_goes_if_nothing_but_files_of_the_hub_is_in_it(tmp_path: Path) -> None:
    """As an engine has one of each registry that it knows."""
    layout, place = Layout(HUB, tmp_path / "state", privileged=True), tmp_path / "certs.d"
    own, shared, more, empty, homes = (place / name for name in ("own", "shared", "more", "empty", "homes"))
    known: list[Resource] = [Directory(str(folder)) for folder in (place, own, shared, more, empty, homes)]
    for folder in (own, shared, more, empty, layout.state):
        folder.mkdir(parents=True)
        known.append(File(str(folder / "client.key"), "key"))
    homes.mkdir()
    known.append(File(str(homes / ".hubfleet-homes"), "marker"))
    for file in (own / "client.key", shared / "client.key", more / "client.key", homes / ".hubfleet-homes"):
        file.touch()
    (more / "theirs").touch()
    (layout.state / "client.key").touch()
    theirs = {f"file:{shared}/client.key"}
    assert folders_elsewhere(LocalMachine("here"), layout, known, theirs) == [str(own)]
    assert folders_elsewhere(LocalMachine("here"), layout, known[1:], set()) == [str(own), str(shared)]
    assert folders_elsewhere(LocalMachine("here"), layout, known[5:], set()) == [], "somebody else made them"
