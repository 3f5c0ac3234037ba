"""What is wanted of a swarm, compared with what its machines say; no engine is asked."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from typing import Any

import pytest

from hubfleet.agent import converge
from hubfleet.errors import CheckError
from hubfleet.parcel import parcel
from hubfleet.resources import (
    Comeback,
    Container,
    Network,
    Resource,
    SwarmManager,
    SwarmMember,
    SwarmNode,
    Volumes,
    from_json,
)
from hubfleet.resources.base import SERVING
from hubfleet.resources.dockerengine import STOPPED

MANAGER = SwarmManager("lab", "10.0.0.1")
MEMBER = SwarmMember("lab", "hub1", "10.0.0.1", "10.0.0.2", "work1")
NODE = SwarmNode("work1", "lab", "10.0.0.2", {"worker": "yes"})
COMEBACK = Comeback("lab", "/var/lib/hubfleet/lab", ("hubfleet-lab-homes",))
FLEET = Network(
    "fleet",
    driver="overlay",
    attachable=True,
    internal=True,
    subnet="10.88.0.0/20",
    ip_range="10.88.8.0/21",
    gateway="10.88.0.1",
)
MANAGES: dict[str, Any] = {"state": "active", "error": "", "node": "n1", "address": "10.0.0.1", "manager": True}
MANAGES |= {"managers": ["10.0.0.1"], "data_port": 4789, "hubs": ["lab"]}
JOINED = {**MANAGES, "node": "n2", "address": "10.0.0.2", "manager": False, "data_port": 0, "same": True, "known": True}
KNOWN: dict[str, Any] = {"id": "n2", "state": "ready", "manager": False, "availability": "active", "old": []}
KNOWN |= {"labels": {"worker": "yes", "machine": "work1"}}


@pytest.mark.parametrize(
    "resource",
    [MANAGER, MEMBER, NODE, FLEET, Volumes("lab"), Comeback("lab", "/x", ("a", "b"))],
    ids=lambda one: one.kind,
)
def test_json_there_and_back_and_the_agent_that_is_sent_knows_it(resource: Resource) -> None:
    assert from_json(json.loads(json.dumps(resource.to_json()))) == resource
    assert converge.handler(resource.kind)
    names = zipfile.ZipFile(io.BytesIO(parcel())).namelist()
    module = type(resource).__module__.rsplit(".", 1)[1]
    assert {f"hubfleet/agent/{module}.py", f"hubfleet/resources/{module}.py"} <= set(names)


@pytest.mark.parametrize(
    ("resource", "observed"), [(MANAGER, MANAGES), (MEMBER, JOINED), (NODE, KNOWN)], ids=["manager", "member", "node"]
)
def test_what_is_as_wanted_is_left(resource: Resource, observed: dict[str, Any]) -> None:
    assert resource.diff(observed) is None
    for unknown in (None, STOPPED):
        change = resource.diff(unknown)
        assert change
        assert (change.action, resource.steady(unknown)) == ("create", None)
        assert resource.removal(unknown) is None


@pytest.mark.parametrize(("resource", "observed"), [(MANAGER, MANAGES), (MEMBER, JOINED)], ids=["manager", "member"])
def test_somebody_elses_swarm_is_neither_joined_nor_left(resource: Resource, observed: dict[str, Any]) -> None:
    theirs = {**observed, "hubs": []}
    with pytest.raises(CheckError, match=r"hubfleet did not make it. It was left as it is. Try: docker swarm leave"):
        resource.diff(theirs)
    assert resource.removal(theirs) is None


def test_a_swarm_is_not_made_anew_because_its_address_or_port_is_another() -> None:
    for other in (replace(MANAGER, address="10.0.0.9"), replace(MANAGER, data_port=4790)):
        with pytest.raises(CheckError, match=r"has to be made anew. It was left as it is"):
            other.diff(MANAGES)
    with pytest.raises(CheckError, match=r"locked. Try: docker swarm unlock"):
        MANAGER.diff({**MANAGES, "state": "locked"})


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"managers": ["10.0.0.9"]}, "leaves the swarm of 10.0.0.9"),
        ({"same": False}, "leaves its swarm: what hub1 manages now is another one"),
        ({"known": False}, "leaves its swarm, which hub1 has removed it from"),
        ({"state": "error", "error": "removed"}, "leaves its swarm, which does not take it any more (removed)"),
        ({"address": "10.0.0.7"}, "leaves its swarm, where it is known as 10.0.0.7"),
        ({"manager": True}, "leaves the swarm that it manages itself, at 10.0.0.2"),
    ],
)
def test_why_a_machine_joins_anew(other: dict[str, Any], reason: str) -> None:
    change = MEMBER.diff({**JOINED, **other})
    assert change
    assert change.detail[0] == reason
    assert change.impact == "users' servers on this machine end"


def test_the_token_is_given_for_the_step_alone() -> None:
    assert MEMBER.needs == ("hub1", "swarm worker token")
    full = MEMBER.given(json.dumps({"token": "SWMTKN-canary", "nodes": ["n1"]}))
    assert (full.token, full.nodes) == ("SWMTKN-canary", ("n1",))
    change = full.diff(None)
    assert "canary" not in f"{full!r} {change!r} {json.dumps(full.redacted().to_json())}"


def test_what_a_node_lacks() -> None:
    def lines(**other: Any) -> tuple[str, ...]:
        change = NODE.diff({**KNOWN, **other})
        return change.detail if change else ()

    assert lines(labels={"machine": "work1", "gpu": "1"}) == ("label gpu 1 -> none", "label worker none -> yes")
    assert lines(availability="drain") == ("availability drain -> active",)
    assert lines(old=["n1"]) == ("the node that it was before is removed (n1)",)
    assert lines(id="", old=["n1"])[1:] == ("at 10.0.0.2", "worker=yes")
    drained = replace(NODE, availability="drain").diff(KNOWN)
    assert drained
    assert drained.impact == "users' servers there end"


@pytest.mark.parametrize("state", ["down", "unknown", "disconnected"])
def test_a_node_that_is_not_ready_is_waited_for_unless_it_may_be_dead(state: str) -> None:
    change = NODE.diff({**KNOWN, "state": state})
    assert change
    assert change.detail == (f"the swarm has it as {state}; it is waited for",)
    assert change.impact == ""
    assert replace(NODE, awaited=False).diff({**KNOWN, "state": state}) is None
    assert change.resource.stage(change.action) < SERVING


@pytest.mark.parametrize(("resource", "observed"), [(MANAGER, MANAGES), (MEMBER, JOINED)], ids=["manager", "member"])
def test_an_engine_that_is_coming_back_is_waited_for_and_joins_nothing_anew(
    resource: Resource, observed: dict[str, Any]
) -> None:
    change = resource.diff({**observed, "state": "pending", "manager": False, "managers": ["10.0.0.1"]})
    assert change
    assert (change.action, change.impact) == ("start", "")
    assert change.detail == ("it is not back in its swarm yet, and is waited for",)


def test_volumes_of_servers_are_never_missing_and_go_when_nobody_comes_any_more() -> None:
    volumes = Volumes("lab")
    for observed in (None, STOPPED, {"names": ["a"]}):
        assert volumes.diff(observed) is None
        assert volumes.steady(observed) is None
    assert volumes.absent(None)
    assert (volumes.removal(None), volumes.removal(STOPPED)) == (None, None)
    for names, words in ((["a"], "1 of users' servers"), (["a", "b"], "2 of users' servers")):
        change = volumes.removal({"names": names})
        assert change
        assert change.detail == (f"{words}; nobody's files are in them",)


def test_what_is_tried_after_a_boot_is_wanted_where_systemd_is() -> None:
    comeback = Comeback("lab", "/var/lib/hubfleet/lab", ("hubfleet-lab-homes",))
    for seen, action in (
        (None, "create"),
        ({"there": False, "kept": False}, "create"),
        ({"there": True, "kept": False}, "update"),
    ):
        change = comeback.diff(seen)
        assert change is not None
        assert (change.action, change.detail) == (action, ("hubfleet-lab-homes: tried until it runs",))
    for kept in (True, False):
        assert COMEBACK.diff({"there": kept, "kept": True}) is None
        assert (COMEBACK.removal({"there": kept, "kept": True}) is not None) == kept


def test_in_which_order_machines_do_it() -> None:
    """A member joins after there is a manager and is known after that; it leaves after it was drained, before the
    manager does."""
    joins = [
        MANAGER.stage("create"),
        MEMBER.stage("create"),
        NODE.stage("create"),
        Container("a", "b", ()).stage("start"),
    ]
    leaves = [NODE.stage("remove"), MEMBER.stage("remove"), MANAGER.stage("remove")]
    assert joins == sorted(set(joins))
    assert joins[-1] == SERVING
    assert leaves == sorted(set(leaves))


def test_networks_of_a_swarm() -> None:
    observed = {"id": "1", "driver": "overlay", "bridge": "", "isolated": False, "internal": True, "attachable": True}
    observed |= {"subnet": FLEET.subnet, "ip_range": FLEET.ip_range, "gateway": FLEET.gateway, "encrypted": False}
    observed |= {"containers": ["a"]}
    assert FLEET.diff(observed) is None
    with pytest.raises(CheckError, match=r"ip_range 10.88.8.0/21 -> 10.88.4.0/22\), and containers are on it: a"):
        replace(FLEET, ip_range="10.88.4.0/22").diff(observed)
    assert replace(FLEET, encrypted=True).diff({**observed, "containers": []})


def test_a_container_without_further_networks_is_what_it_was_before_there_were_any() -> None:
    plain = Container("hub", "image", ("run",))
    assert plain.fingerprint == "2d3ebe8956ac0774"
    others = [replace(plain, networks=(("fleet", "10.88.0.2"),)), replace(plain, hostname="hub")]
    assert len({plain.fingerprint, *(one.fingerprint for one in others)}) == 3
