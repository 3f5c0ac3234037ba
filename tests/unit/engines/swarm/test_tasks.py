"""What tasks say of servers; ``tasks.json`` is what a manager of version 20.10 has told of some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hubfleet.engines.swarm.tasks import Coming, cores_of, is_over, state_of, without_home
from hubfleet.launcher.base import Running, Stopped, Unknown

TASKS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "tasks.json").read_text())


def node(state: str, message: str = "") -> dict[str, Any]:
    return {"Description": {"Hostname": "worker1"}, "Status": {"State": state, "Message": message}}


READY, DOWN = node("ready"), node("down", "heartbeat failure")


@pytest.mark.parametrize(
    ("name", "code", "why"),
    [
        ("complete", 0, "it stopped by itself"),
        ("exit 3", 3, "it exited with code 3"),
        ("no image", None, f"worker1 could not run it: No such image: sha256:{'0' * 64}"),
        (
            "no mount",
            None,
            'worker1 could not run it: invalid mount config for type "bind": bind source path does not exist: /nope',
        ),
    ],
)
def test_what_has_ended_is_told_in_the_engines_words(name: str, code: int | None, why: str) -> None:
    assert state_of(TASKS[name], READY, limited=True) == Stopped(code, why)
    # An end that was told stays true when its machine is lost.
    assert state_of(TASKS[name], DOWN, limited=True) == Stopped(code, why)
    assert is_over(TASKS[name], READY)


@pytest.mark.parametrize(("left", "code"), [(0, None), (143, 143)])
def test_what_the_swarm_ended_is_no_end_of_the_users_own(left: int, code: int | None) -> None:
    status = {"State": "shutdown", "ContainerStatus": {"ExitCode": left}}
    ended = state_of({"Status": status, "DesiredState": "shutdown"}, READY, limited=True)
    assert ended == Stopped(code, "the swarm has ended it on worker1")


@pytest.mark.parametrize("reason", ["connection refused", "connection timed out", "no route to host"])
def test_a_home_that_cannot_be_mounted_is_told_in_plain_words(reason: str) -> None:
    place = "/var/lib/docker/volumes/22db/_data"
    said = (
        f"failed to mount local volume: mount :/srv/homes/ada:{place}, flags: 0x6, data: addr=10.0.0.9,hard: {reason}"
    )
    why = f"worker1 could not run it: starting container failed: error while mounting volume '{place}': {said}"
    words = without_home(why, "10.0.0.9")
    assert words.startswith(f"worker1 cannot mount your home from the storage at 10.0.0.9 ({reason}). Please try again")
    assert without_home("it exited with code 3", "10.0.0.9") == "it exited with code 3"


@pytest.mark.parametrize(("state", "mounting"), [("preparing", False), ("ready", False), ("starting", True)])
def test_a_machine_that_mounts_is_told_from_one_that_fetches_an_image(state: str, mounting: bool) -> None:
    task = {"Status": {"State": state}, "DesiredState": "running"}
    assert state_of(task, READY, limited=True) == Coming("Starting the server on worker1", mounting=mounting)


def test_the_engine_does_not_tell_of_memory_but_a_limit_makes_it_likely() -> None:
    limited = state_of(TASKS["killed"], READY, limited=True)
    assert limited == Stopped(
        137, "it was ended by signal SIGKILL, as the system does when a server goes over its memory limit"
    )
    assert state_of(TASKS["killed"], READY, limited=False) == Stopped(137, "it was ended by signal SIGKILL")


def test_what_runs_runs() -> None:
    assert state_of(TASKS["running"], READY, limited=True) == Running()
    assert not is_over(TASKS["running"], READY)


def test_why_no_machine_takes_it_is_told() -> None:
    words = "no suitable node (insufficient resources on 3 nodes)"
    assert state_of(TASKS["no room"], None, limited=True) == Coming("Looking for a machine with room", words)


def test_what_is_on_its_way_is_told_with_its_machine() -> None:
    task = {**TASKS["running"], "Status": {"State": "preparing"}}
    assert state_of(task, READY, limited=True) == Coming("Starting the server on worker1")
    assert not is_over(task, READY)


def test_a_machine_is_lost_only_when_the_swarm_has_given_it_up() -> None:
    assert isinstance(state_of(TASKS["running"], DOWN, limited=True), Unknown), "its tasks are still to go on"
    assert not is_over(TASKS["running"], DOWN)
    lost = Stopped(None, "worker1 is lost (heartbeat failure), and the server with it")
    assert state_of(TASKS["lost"], DOWN, limited=True) == lost
    assert is_over(TASKS["lost"], DOWN)


def test_what_was_given_up_and_is_there_again_still_runs() -> None:
    assert state_of(TASKS["lost"], READY, limited=True) == Running()
    assert not is_over(TASKS["lost"], READY)


@pytest.mark.parametrize("state", ["unknown", "disconnected"])
def test_a_machine_that_has_not_reported_yet_is_not_lost(state: str) -> None:
    for name in ("running", "lost"):
        assert isinstance(state_of(TASKS[name], node(state), limited=True), Unknown)
        assert not is_over(TASKS[name], node(state))


def test_what_was_removed_before_it_had_a_machine_is_over() -> None:
    removed = {**TASKS["no room"], "DesiredState": "remove"}
    assert is_over(removed, None)
    assert not is_over(TASKS["no room"], None)
    assert not is_over({**TASKS["running"], "DesiredState": "remove"}, READY)


def test_cores_are_those_of_machines_that_have_servers() -> None:
    nodes = [
        {**node(state), "Spec": {"Labels": labels, "Availability": availability}, **_cores(cores)}
        for labels, cores, state, availability in (
            ({"worker": "yes"}, 8, "ready", "active"),
            ({"worker": "yes"}, 16, "down", "active"),
            ({"worker": "yes"}, 32, "ready", "drain"),
            ({}, 2, "ready", "active"),
            ({"worker": "no"}, 1, "ready", "active"),
        )
    ]
    assert cores_of(nodes, ["node.labels.worker==yes"]) == [8, 16, 32]
    assert cores_of(nodes, ["node.labels.worker==yes"], ready=True) == [8]
    assert cores_of(nodes, ["node.labels.worker != yes", "node.hostname==a"]) == [2, 1]
    assert cores_of(nodes, ["node.labels.none==yes"]) == []


def _cores(number: int) -> dict[str, Any]:
    return {"Description": {"Hostname": "worker1", "Resources": {"NanoCPUs": number * 10**9}}}
