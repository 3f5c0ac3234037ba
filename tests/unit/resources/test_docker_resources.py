"""What is wanted of Docker, compared with what a machine has; no engine is asked."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from dataclasses import fields, replace
from typing import Any

import pytest

from hubfleet.agent.converge import handler
from hubfleet.errors import CheckError
from hubfleet.parcel import parcel
from hubfleet.resources import Container, DockerEngine, Firewall, Image, Network, Resource, from_json
from hubfleet.resources.dockerengine import STOPPED

IMAGE = Image.of("hub", "debian:12", "FROM debian:12\nCOPY run /\n", {"run": b"#!/bin/sh\n", "note": b"x"})
NETWORK = Network("users", "hf-users", isolated=True)
CONTAINER = Container(
    "hub",
    IMAGE.tag,
    ("jupyterhub",),
    environment={"A": "b"},
    mounts=(("/a", "/b", "ro"),),
    tmpfs=(("/tmp", 1024),),
    ports=(("127.0.0.1", 80, 8080),),
    impact="the hub is away",
)
FIREWALL = Firewall("lab-1.example", "hf-users", allow=("10.1.2.3",))
RUNNING = {"running": True, "version": "20.10.24", "live_restore": True, "swarm": False, "settings": ""}
RUNNING |= {"ours": False, "readable": True, "lacks": []}


@pytest.mark.parametrize("resource", [DockerEngine(), IMAGE, NETWORK, FIREWALL, CONTAINER], ids=lambda one: one.kind)
def test_json_there_and_back_and_the_agent_that_is_sent_knows_it(resource: Resource) -> None:
    assert from_json(json.loads(json.dumps(resource.to_json()))) == resource
    assert handler(resource.kind)
    names = zipfile.ZipFile(io.BytesIO(parcel())).namelist()
    module = type(resource).__module__.rsplit(".", 1)[1]
    assert {f"hubfleet/agent/{module}.py", f"hubfleet/resources/{module}.py"} <= set(names)


@pytest.mark.parametrize(
    ("observed", "action", "detail"),
    [
        (None, "create", "the distribution's docker.io is installed"),
        ({**RUNNING, "running": False}, "start", "not running"),
        ({**RUNNING, "live_restore": False}, "update", "containers go on while it is restarted (live-restore)"),
        ({**RUNNING, "lacks": ["nftables"]}, "update", "nftables is installed"),
    ],
)
def test_what_an_engine_lacks(observed: dict[str, Any] | None, action: str, detail: str) -> None:
    change = DockerEngine().diff(observed)
    assert change
    assert (change.action, change.detail[0], change.impact) == (action, detail, "")


def test_an_engine_that_is_as_wanted_is_left_and_never_removed() -> None:
    assert DockerEngine().diff(RUNNING) is None
    assert DockerEngine().diff({**RUNNING, "swarm": True}) is None
    assert DockerEngine(live_restore=False).diff({**RUNNING, "live_restore": False}) is None
    assert DockerEngine().removal(RUNNING) is None


def test_live_restore_that_cannot_be_is_refused() -> None:
    with pytest.raises(CheckError, match=r"Docker is part of a swarm here.*Try: docker swarm leave"):
        DockerEngine().diff({**RUNNING, "live_restore": False, "swarm": True})
    with pytest.raises(CheckError, match=r"daemon.json is not a JSON object"):
        DockerEngine().diff({**RUNNING, "live_restore": False, "readable": False})


def test_live_restore_is_switched_off_before_a_machine_joins_a_swarm_and_on_after_it_left() -> None:
    off = DockerEngine(live_restore=False).diff(RUNNING)
    assert off
    assert off.detail == ("live-restore is switched off, which a swarm's engine refuses",)
    assert "all containers of this machine end whenever Docker is restarted" in off.impact
    with pytest.raises(CheckError, match=r"daemon.json is not a JSON object"):
        DockerEngine(live_restore=False).diff({**RUNNING, "readable": False})
    on = DockerEngine().diff({**RUNNING, "live_restore": False, "swarm": True, "ours": True})
    assert on
    assert on.detail == ("containers go on while it is restarted (live-restore)",)
    inside, outside = ({**RUNNING, "swarm": one, "ours": one} for one in (True, False))
    assert DockerEngine().steady(inside) == DockerEngine().steady(outside), "leaving would make the plan stale"


def test_an_image_is_named_by_what_decides_its_content() -> None:
    def tag(base: str = "b", dockerfile: str = "FROM b\n", note: bytes = b"x", proxy: str = "") -> str:
        return Image.of("hub", base, dockerfile, {"note": note}, {"http_proxy": proxy}).tag

    assert tag().startswith("hubfleet/hub:")
    assert len(tag()) == len("hubfleet/hub:") + 16
    assert len({tag(), tag(base="c"), tag(dockerfile="FROM c\n"), tag(note=b"y")}) == 4
    assert tag(proxy="http://192.0.2.1") == tag()


def test_an_image_is_built_of_an_archive_that_is_the_same_each_time() -> None:
    assert Image.of("hub", "debian:12", "FROM debian:12\nCOPY run /\n", {"note": b"x", "run": b"#!/bin/sh\n"}) == IMAGE
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(IMAGE.archive()))) as archive:
        modes = {member.name: member.mode for member in archive.getmembers()}
        assert {member.mtime for member in archive.getmembers()} == {0}
    assert modes == {"Dockerfile": 0o644, "note": 0o644, "run": 0o755}
    assert sorted(IMAGE.files()) == ["note", "run"]


def test_manifests_have_no_contents_and_no_arguments_of_an_image() -> None:
    secret = Image.of("hub", "b", "FROM b\n", {"x": b"canary" * 99}, {"http_proxy": "http://ann:canary@192.0.2.1"})
    text = json.dumps(secret.redacted().to_json())
    assert secret.context not in text
    assert "canary" not in text + repr(secret)
    assert secret.redacted().removal({"id": "1", "users": 0})
    with pytest.raises(CheckError, match="what it was built of is not kept"):
        secret.redacted().diff(None)


def test_what_is_used_is_not_removed() -> None:
    assert IMAGE.removal({"id": "1", "users": 2}) is None
    assert NETWORK.removal({"containers": ["a"]}) is None
    assert CONTAINER.removal({"state": "foreign", "fingerprint": "", "leftovers": []}) is None


def test_a_network_that_differs_is_made_anew_only_when_it_is_empty() -> None:
    observed = {"id": "1", "driver": "bridge", "bridge": "hf-users", "isolated": False, "internal": False}
    observed |= {"subnet": "172.30.0.0/24", "ip_range": "", "gateway": "172.30.0.1", "attachable": False}
    observed |= {"encrypted": False, "containers": []}
    assert NETWORK.diff({**observed, "isolated": True}) is None
    change = NETWORK.diff(observed)
    assert change
    assert change.detail == ("it is made anew", "isolated no -> yes")
    with pytest.raises(CheckError, match="containers are on it: ann, bob"):
        NETWORK.diff({**observed, "containers": ["ann", "bob"]})
    with pytest.raises(CheckError, match="no name for a network interface"):
        replace(NETWORK, bridge="x" * 16).diff(None)


def test_rules_differ_with_what_they_are_made_of() -> None:
    observed = {"loaded": FIREWALL.digest(["10.0.0.2"]), "kept": True, "resolvers": ["10.0.0.2"]}
    assert FIREWALL.diff(observed) is None
    for other in ({"loaded": ""}, {"kept": False}, {"resolvers": ["10.0.0.3"]}):
        change = FIREWALL.diff({**observed, **other})
        assert change
        assert change.action == "update"
    assert replace(FIREWALL, allow=()).diff(observed)
    assert "denied" not in FIREWALL.rules([]), "rules that deny nothing are another than they were"
    denying = replace(FIREWALL, deny=("192.0.2.7", "2001:db8::7"))
    assert denying.diff(observed)
    text = denying.rules([])
    assert text.index("ip daddr @denied4 drop") < text.index("ip daddr @allowed4 return")
    assert text.index("ip6 daddr @denied6 drop") < text.index("ip6 daddr @allowed6 return")
    closing = replace(FIREWALL, closed=(2049,))
    assert closing.diff(observed)
    text = closing.rules([])
    assert text.index("th dport { 2049 } drop") < text.index("ip daddr @allowed4 return")
    with pytest.raises(ValueError, match="ten"):
        replace(FIREWALL, allow=("ten",)).rules([])


@pytest.mark.parametrize(
    ("other", "action", "impact"),
    [
        ({}, "", ""),
        ({"state": "exited"}, "start", ""),
        ({"state": "silent"}, "start", ""),
        ({"state": "of a later version"}, "start", ""),
        ({"fingerprint": "other"}, "restart", "the hub is away"),
        ({"fingerprint": "", "state": "absent", "leftovers": ["hub-previous"]}, "start", ""),
        ({"leftovers": ["hub-next"]}, "update", ""),
    ],
)
def test_what_a_container_needs(other: dict[str, Any], action: str, impact: str) -> None:
    observed = {"fingerprint": CONTAINER.fingerprint, "state": "running", "leftovers": [], **other}
    change = CONTAINER.diff(observed)
    assert (change.action, change.impact) == (action, impact) if change else not action


def test_a_container_is_replaced_for_every_field_that_decides_what_it_is() -> None:
    other: dict[str, Any] = {"name": "x", "reads": ("/x",), "ready": "/x", "impact": "x", "noticed": False}
    other |= {"database": "/x", "database_copy": "/y"}
    assert replace(CONTAINER, **other).fingerprint == CONTAINER.fingerprint
    for field in fields(CONTAINER):
        if field.name not in other:
            changed: dict[str, Any] = {field.name: "another"}
            assert replace(CONTAINER, **changed).fingerprint != CONTAINER.fingerprint, field.name


@pytest.mark.parametrize("resource", [IMAGE, NETWORK, CONTAINER], ids=lambda one: one.kind)
def test_what_nobody_knows_makes_no_plan_stale_and_is_not_forgotten(resource: Resource) -> None:
    assert resource.steady(STOPPED) is None
    assert resource.diff(STOPPED)
    assert resource.removal(STOPPED)
