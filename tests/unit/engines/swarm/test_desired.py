"""What a fleet whose homes are on a machine of their own wants of each machine."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from hubfleet.config import Config
from hubfleet.config.fleet import addresses
from hubfleet.engines import engine
from hubfleet.engines.swarm.desired import MARKER
from hubfleet.guard.rules import hub_addresses, rules
from hubfleet.link import Link
from hubfleet.resources import (
    Comeback,
    Container,
    Directory,
    File,
    Firewall,
    ImageGiven,
    ImageTaken,
    Resource,
    SharedDirectory,
    SwarmMember,
    SwarmNode,
    Trial,
    Volumes,
)
from sites import site

ADDRESSES = {"hub1": "10.0.0.10", "worker1": "10.0.0.11", "files1": "10.0.0.12"}
LINK = Link("keeper-certificate", "canary-keeper-key", "launcher-certificate", "canary-launcher-key")
OTHER = Link("a", "b", "c", "d")
STATE = "/var/lib/hubfleet/physics101"
HOMES = "/srv/homes"
Machines = dict[str, tuple[Resource, ...]]


def wanted(
    roles: dict[str, list[str]] | None = None, drained: frozenset[str] = frozenset(), **homes: Any
) -> tuple[Config, Machines]:
    given = roles or {"hub1": ["hub"], "worker1": ["worker"], "files1": ["storage"]}
    machines = {name: {"ssh": f"root@{ADDRESSES[name]}", "roles": one} for name, one in given.items()}
    storage = {"homes": {"path": HOMES, "share": "mounted", **homes}}
    config = Config.model_validate(
        {
            "hub": "physics101",
            "engine": "swarm",
            "machines": machines,
            "login": {"password": "file"},
            "storage": storage,
            "https": "self-signed",
        }
    )
    told = {name: ADDRESSES[name] for name in given}
    facts = site(addresses=told, hub_address="10.0.0.10", registry=OTHER, link=OTHER, homes=LINK, drained=drained)
    swarm = engine("swarm")
    assert swarm.problems(config, facts) == []
    return config, {"hub1": swarm.desired(config, facts), **swarm.desired_elsewhere(config, facts)}


def containers(there: tuple[Resource, ...]) -> dict[str, Container]:
    return {one.name.rpartition("-")[2]: one for one in there if isinstance(one, Container)}


def files(there: tuple[Resource, ...]) -> dict[str, File]:
    return {one.path: one for one in there if isinstance(one, File)}


def test_the_keeper_is_where_the_homes_are_and_nowhere_else() -> None:
    config, found = wanted()
    assert {name for name, there in found.items() if "homes" in containers(there)} == {"files1"}
    keeper, fleet = containers(found["files1"])["homes"], addresses("physics101", config.network.fleet)
    assert keeper.networks == (("hubfleet-physics101-fleet", fleet.storage),)
    assert (keeper.network, keeper.ports) == ("hubfleet-physics101-fleet", ())
    assert keeper.capabilities == ("CHOWN", "DAC_OVERRIDE", "FOWNER")
    assert {source for source, _, _ in keeper.mounts} == {HOMES, f"{STATE}/keeper", f"{STATE}/run/keeper"}
    assert fleet.storage.endswith(".5") or int(fleet.storage.rpartition(".")[2]) % 64 == 5
    made = [one.path for one in found["hub1"] if isinstance(one, (Directory, File))]
    assert not [path for path in made if path.startswith((HOMES, f"{STATE}/keeper", f"{STATE}/run/keeper"))]


def test_its_machine_joins_the_swarm_and_gets_no_servers() -> None:
    _, found = wanted()
    (member,) = [one for one in found["files1"] if isinstance(one, SwarmMember)]
    assert (member.address, member.node) == (ADDRESSES["files1"], "files1")
    nodes = {one.name: one.labels for one in found["hub1"] if isinstance(one, SwarmNode)}
    assert nodes == {"hub1": {}, "worker1": {"worker": "yes"}, "files1": {}}
    assert {"guard", "homes"} & set(containers(found["files1"])) == {"homes"}, "what no server needs is not there"
    assert not [one for one in found["files1"] if isinstance(one, Volumes)]
    assert [one.hub for one in found["worker1"] if isinstance(one, Volumes)] == ["physics101"]
    assert [one for one in found["files1"] if isinstance(one, Firewall)], "its container has a way out, and not far"


def test_what_its_manager_has_to_be_there_for_is_tried_until_it_runs() -> None:
    _, machines = wanted()
    found = {name: [one.containers for one in there if isinstance(one, Comeback)] for name, there in machines.items()}
    hubs = tuple(f"hubfleet-physics101-{part}" for part in ("launcher", "proxy", "hub"))
    assert found == {"hub1": [hubs], "worker1": [], "files1": [("hubfleet-physics101-homes",)]}


def test_a_drained_machine_has_a_label_of_this_hub_and_stays_as_it_is_for_others() -> None:
    _, found = wanted(drained=frozenset({"worker1", "files1", "gone"}))
    nodes = {one.name: one for one in found["hub1"] if isinstance(one, SwarmNode)}
    assert nodes["worker1"].labels == {"worker": "yes", "drained": "yes"}
    assert nodes["files1"].labels == {}, "one without servers has none to get"
    assert {one.availability for one in nodes.values()} == {"active"}
    theirs = {"id": "n", "state": "ready", "manager": False, "availability": "active", "old": []}
    named = {"machine": "worker1", "worker": "yes", "drained": "yes"}
    assert nodes["worker1"].diff({**theirs, "labels": named}) is None
    (undone,) = [one for one in wanted()[1]["hub1"] if isinstance(one, SwarmNode) and one.name == "worker1"]
    change = undone.diff({**theirs, "labels": named})
    assert change
    assert change.detail == ("label drained yes -> none",)
    assert change.impact == ""


def test_servers_reach_no_machine_at_any_address_that_is_known_of_it() -> None:
    """The public ones, to which `ssh` connects, count as the private ones do."""
    machines = {name: {"ssh": name, "private_ip": one, "roles": ["worker"]} for name, one in ADDRESSES.items()}
    machines["hub1"]["roles"] = ["hub"]
    machines["front"] = {"ssh": "front.example.edu", "roles": ["edge"]}
    homes = {"homes": {"path": HOMES, "share": "mounted"}}
    told = {"hub": "physics101", "engine": "swarm", "machines": machines, "storage": homes, "https": "self-signed"}
    config = Config.model_validate({**told, "login": {"password": "file"}})
    public = frozenset({"203.0.113.10", "203.0.113.11", "203.0.113.12", "front.example.edu"})
    known = {**ADDRESSES, "front": "front.example.edu"}
    facts = site(addresses=known, reached=public, hub_address="10.0.0.10", registry=OTHER, link=OTHER)
    swarm = engine("swarm")
    found = {"hub1": swarm.desired(config, facts), **swarm.desired_elsewhere(config, facts)}
    for name in ADDRESSES:
        (out,) = [one for one in found[name] if isinstance(one, Firewall) and one.name.endswith("_out")]
        assert set(out.deny) == {*ADDRESSES.values(), *public} - {"front.example.edu"}
        assert out.rules([])


def test_images_come_to_it_by_the_registry() -> None:
    _, found = wanted()
    keeper = containers(found["files1"])["homes"]
    (taken,) = [one for one in found["files1"] if isinstance(one, ImageTaken)]
    assert keeper.image == taken.key
    assert taken.key in {one.key for one in found["hub1"] if isinstance(one, ImageGiven)}
    assert "/hubfleet/hub:" in taken.key


def test_each_end_has_its_own_key_and_the_others_certificate() -> None:
    _, found = wanted()
    here, there = files(found["hub1"]), files(found["files1"])
    told = json.loads(there[f"{STATE}/keeper/keeper.json"].content)
    assert there[told["line"]["certificate"]].content == LINK.gate_certificate
    assert there[told["line"]["key"]].content == LINK.gate_key
    assert there[told["line"]["launcher"]].content == LINK.edge_certificate
    asks = json.loads(here[f"{STATE}/launcher/launcher.json"].content)["engine"]["keeper"]
    assert (asks["address"], asks["port"]) == (told["line"]["address"], told["line"]["port"])
    assert here[asks["certificate"]].content == LINK.edge_certificate
    assert here[asks["key"]].content == LINK.edge_key
    assert here[asks["keeper"]].content == LINK.gate_certificate
    assert set(asks.values()) & set(containers(found["hub1"])["launcher"].reads)
    for key, machine in ((LINK.gate_key, "files1"), (LINK.edge_key, "hub1")):
        holding = {(name, path) for name in found for path, one in files(found[name]).items() if key in one.content}
        assert {name for name, _ in holding - {("hub1", f"{STATE}/secrets/homes.json")}} == {machine}
    for all_ in found.values():
        for one in all_:
            if isinstance(one, File) and "canary" in one.content:
                assert (one.secret, one.mode, one.owner) == (True, 0o600, "root")
                assert "canary" not in json.dumps(one.redacted().to_json())
            elif not isinstance(one, File):
                assert "canary" not in json.dumps(one.to_json())


def test_a_rollback_finds_both_ends_keys() -> None:
    config, found = wanted()
    facts = site(addresses=ADDRESSES, hub_address="10.0.0.10", registry=OTHER, homes=LINK)
    links = engine("swarm").link_files(config, facts)
    for name, there in found.items():
        ends = {
            one.path for one in files(there).values() if one.secret and one.content.endswith(("-key", "-certificate"))
        }
        assert ends <= {one.key for one in links.get(name, ())}
        assert len(ends) == {"hub1": 3, "worker1": 0, "files1": 3}[name]


def test_the_marker_is_written_where_the_homes_are_and_looked_for_where_servers_are() -> None:
    for roles in (
        {"hub1": ["hub"], "worker1": ["worker"], "files1": ["storage"]},
        {"hub1": ["hub", "worker"], "worker1": ["worker"], "files1": ["storage"]},
        {"hub1": ["hub"], "worker1": ["worker"], "files1": ["storage", "worker"]},
        {"hub1": ["hub"], "worker1": ["worker"]},
    ):
        config, found = wanted(roles)
        writes = {name for name, there in found.items() if f"{HOMES}/{MARKER}" in files(there)}
        looks = {name for name, there in found.items() if any(isinstance(one, SharedDirectory) for one in there)}
        assert writes == {config.storage_machine}
        assert looks == set(config.worker_machines) - writes


def test_a_machine_with_homes_and_servers_has_both() -> None:
    _, found = wanted({"hub1": ["hub"], "files1": ["storage", "worker"]})
    assert {"homes", "guard"} <= set(containers(found["files1"]))
    ids = [one.id for one in found["files1"]]
    assert len(ids) == len(set(ids))
    both = wanted({"hub1": ["hub"], "worker1": ["worker"], "files1": ["storage", "edge"]})[1]["files1"]
    assert {"homes", "edge"} <= set(containers(both))
    assert len({one.id for one in both}) == len(both)


def test_new_homes_begin_as_the_skeleton_there(tmp_path: Path) -> None:
    _, found = wanted(skeleton=str(tmp_path))
    told = json.loads(files(found["files1"])[f"{STATE}/keeper/keeper.json"].content)
    there = [one.key for one in found["files1"]]
    assert there.index(told["skeleton"]) < there.index("hubfleet-physics101-homes")
    assert str(Path(told["skeleton"]).parent) in there


def test_a_trial_keeps_no_homes() -> None:
    _, found = wanted()
    trial = next(one for one in found["hub1"] if isinstance(one, Trial))
    assert "keeper" not in json.dumps([one.to_json() for one in trial.containers])
    (launcher,) = [json.loads(one.content) for one in trial.files if one.path.endswith("/launcher.json")]
    assert launcher["engine"]["keeper"] is None


def test_the_guards_let_no_server_open_a_connection_to_it() -> None:
    config, found = wanted()
    fleet = addresses("physics101", config.network.fleet)
    guard = containers(found["worker1"])["guard"]
    opened = [guard.argv[at + 1] for at, word in enumerate(guard.argv) if word == "--open"]
    assert not [door for door in opened if door.startswith(f"{fleet.storage}:")]
    subnet = IPv4Network(fleet.subnet)
    assert IPv4Address(fleet.storage) in hub_addresses(subnet), "where only what was asked for may come to"
    doors = [(door.partition(":")[0], int(door.partition(":")[2])) for door in opened]
    assert f"daddr {fleet.storage}" not in rules(subnet, doors)


def test_where_each_part_is() -> None:
    swarm = engine("swarm")
    apart, _ = wanted()
    assert swarm.containers(apart)["homes"] == "hubfleet-physics101-homes"
    assert swarm.elsewhere(apart)["homes"] == "files1"
    here, _ = wanted({"hub1": ["hub"], "worker1": ["worker"]})
    assert swarm.containers(here)["homes"] == "hubfleet-physics101-homes"
    assert "homes" not in swarm.elsewhere(here)
