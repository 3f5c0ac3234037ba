"""The plan is what is shown and what runs; secrets are not in it; what drifted is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hubfleet.errors import ApplyError, CheckError
from hubfleet.plan import Desired, Event, Generations, Manifest, apply_plan, make_plan, plan_lines, plan_text
from hubfleet.resources import Directory, Environment, File
from unit.plan.deployment import CANARY, MACHINES, deploy, desired, plan_now


def only(folder: Path, *resources: File | Directory | Environment) -> Desired:
    return Desired("test", folder / "state", {"local": resources}, ("remember the milk",))


def test_text_and_json_say_the_same(tmp_path: Path) -> None:
    deploy(desired(tmp_path, "first"))
    plan = plan_now(desired(tmp_path, "second"))
    site = tmp_path / "site"
    assert (
        plan_text(plan)
        == f"""\
test: 2 to update, 2 to create, 1 to remove
  ~ update directory {site}
      mode 0755 -> 0711
  + create directory {site}/inner
      mode 0700
  ~ update file {site}/kept
      mode 0640 -> 0644
      content changed (what is there now is private, large or not text: not shown)
  + create file {site}/inner/secret
      mode 0600
      content changed (secret, not shown)
  - remove file {site}/dropped
      no longer part of the configuration
"""
    )
    shown = plan.to_json()
    assert [(change["action"], change["resource"]) for change in shown["changes"]] == [
        ("update", f"directory:{site}"),
        ("create", f"directory:{site}/inner"),
        ("update", f"file:{site}/kept"),
        ("create", f"file:{site}/inner/secret"),
        ("remove", f"file:{site}/dropped"),
    ]
    _, events = deploy(desired(tmp_path, "second"))
    assert [event.change.resource.id for event in events if event.status == "done"] == [
        change["resource"] for change in shown["changes"]
    ]


def test_settings_that_changed_stand_for_the_file_that_holds_them(tmp_path: Path) -> None:
    file = tmp_path / "a"
    deploy(only(tmp_path, File(str(file), "1G\n")))
    wanted = replace(
        only(tmp_path, File(str(file), "2G\n"), File(f"{file}2", "new\n")),
        settings=("servers.memory.limit: 1G -> 2G",),
        holds=f"file:{file}",
    )
    plan = plan_now(wanted)
    shown, whole = plan_text(plan), plan_text(plan, full=True)
    assert "\n  servers.memory.limit: 1G -> 2G\n" in shown
    assert "-1G" not in shown
    assert "+new" in shown, "only the file that holds the settings is shown by them"
    assert "\n      -1G\n      +2G\n" in whole
    assert plan.to_json()["settings"] == ["servers.memory.limit: 1G -> 2G"]
    assert "-1G" in plan_text(plan_now(replace(wanted, settings=()))), "what no setting explains is shown as it is"


def test_diff_of_a_public_file_and_notes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one\ntwo\n")
    file.chmod(0o644)
    plan = make_plan(only(tmp_path, File(str(file), "one\nthree\n")), MACHINES, Manifest())
    assert plan_text(plan) == (
        f"test: 1 to update\n  ~ update file {file}\n"
        "      @@ -1,2 +1,2 @@\n       one\n      -two\n      +three\nnote: remember the milk\n"
    )
    assert [line.role for line in plan_lines(plan)][-3:] == ["removed", "added", "note"]


def test_secret_is_nowhere_but_in_its_file(tmp_path: Path) -> None:
    wanted = desired(tmp_path, "second")
    plan, events = deploy(wanted)
    shown = plan_text(plan, full=True) + json.dumps(plan.to_json()) + repr(plan) + repr(events)
    assert CANARY not in shown
    (tmp_path / "site" / "inner" / "secret").write_text("canary-old")
    assert "canary" not in plan_text(plan_now(wanted), full=True)
    written = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"manifest.json", "summary.txt", "created"}
    assert not [path for path in written if CANARY in path.read_text()]


@pytest.mark.parametrize("version", ["first", "second"])
def test_drift_since_the_plan_is_refused(tmp_path: Path, version: str) -> None:
    deploy(desired(tmp_path, "first"))
    plan = plan_now(desired(tmp_path, "second"))
    target = tmp_path / "site" / ("kept" if version == "first" else "dropped")
    target.write_text("edited by hand\n")
    with pytest.raises(ApplyError) as caught:
        apply_plan(plan, MACHINES, lambda event: None)
    assert f"file {target} changed since the plan was made" in str(caught.value)
    assert "hubfleet plan" in str(caught.value)
    assert "steps are done and stay" in str(caught.value)
    assert target.read_text() == "edited by hand\n"


def test_what_is_done_already_is_said_so(tmp_path: Path) -> None:
    wanted = desired(tmp_path, "first")
    plan = plan_now(wanted)
    deploy(wanted)
    events: list[Event] = []
    apply_plan(plan, MACHINES, events.append)
    assert {event.status for event in events} == {"start", "already done"}


def test_failure_says_what_is_done_and_what_is_not(tmp_path: Path) -> None:
    wanted = only(
        tmp_path,
        Directory(str(tmp_path / "a")),
        File(str(tmp_path / "missing" / "b"), ""),
        File(str(tmp_path / "c"), ""),
    )
    with pytest.raises(ApplyError) as caught:
        deploy(wanted)
    assert str(caught.value) == (
        f"local, step 2: create file {tmp_path}/missing/b failed: the directory {tmp_path}/missing does not "
        "exist. 1 of 3 steps are done and stay; 1 were not begun. "
        "Try: correct that, then hubfleet up again; it carries on from here"
    )


def test_plan_that_cannot_lead_there_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(CheckError, match="is a directory, and a file is wanted"):
        make_plan(only(tmp_path, File(str(tmp_path / "a"), "")), MACHINES, Manifest())


def test_directories_stay_and_are_mentioned(tmp_path: Path) -> None:
    deploy(desired(tmp_path, "first"))
    plan, _ = deploy(desired(tmp_path, "none"))
    assert f"directory {tmp_path}/site is no longer used; it is kept" in plan.notes[0]
    assert list((tmp_path / "site").iterdir()) == []


def test_environment_in_use_is_removed_later(tmp_path: Path) -> None:
    environment = Environment(path="", label="old", python="python3").placed(str(tmp_path))
    (tmp_path / environment.path / "bin").mkdir(parents=True)
    program = Path(environment.path, "bin", "python")
    program.symlink_to(sys.executable)
    state = tmp_path / "state"
    generations = Generations(state)
    keeps = Desired("test", state, {"local": (environment,)})
    generations.begin(make_plan(keeps, MACHINES, Manifest()))
    gone = Desired("test", state, {"local": ()})
    user = subprocess.Popen([str(program), "-c", "input()"], stdin=subprocess.PIPE)
    try:
        for _ in range(2):  # the second deployment must not have forgotten it
            plan, events = deploy(gone)
            assert "still in use" in plan.notes[0]
            assert events == []
    finally:
        user.communicate(b"\n")
    plan, _ = deploy(gone)
    assert [change.action for _, change in plan.changes] == ["remove"]
    assert not os.path.lexists(environment.path)
    assert plan_now(gone).to_json()["notes"] == []
