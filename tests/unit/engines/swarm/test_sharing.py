"""How homes come to machines, by what the file says."""

from __future__ import annotations

from typing import Any

import pytest

from hubfleet.config import Config
from hubfleet.engines import engine
from hubfleet.engines.swarm import sharing
from hubfleet.link import Link
from hubfleet.resources import Export, Firewall, SharedDirectory
from sites import site

MACHINES: dict[str, dict[str, Any]] = {
    "hub1": {"ssh": "hub1", "roles": ["hub"]},
    "store": {"ssh": "store", "roles": ["storage"]},
    "worker1": {"ssh": "worker1", "roles": ["worker"]},
    "worker2": {"ssh": "worker2", "roles": ["worker"]},
}
ADDRESSES = {"hub1": "10.0.0.10", "store": "10.0.0.9", "worker1": "10.0.0.11", "worker2": "10.0.0.12"}


LINK = Link("gate certificate", "gate key", "edge certificate", "edge key")


def config(homes: Any = None, **machines: Any) -> Config:
    homes = {"path": "/srv/homes", "share": "nfs"} if homes is None else homes
    given = {"hub": "physics101", "engine": "swarm", "storage": {"homes": homes}, "machines": {**MACHINES, **machines}}
    return Config.model_validate({**given, "login": {"password": "file"}})


def problems(wanted: Config, **addresses: str) -> list[str]:
    return engine("swarm").problems(wanted, site(addresses={**ADDRESSES, **addresses}))


def test_the_storage_exports_homes_to_the_machines_with_servers_only() -> None:
    wanted, there = config(), site(addresses=ADDRESSES)
    assert list(sharing.export(wanted, there, "store")) == [
        Export("physics101", "/srv/homes", ("10.0.0.11", "10.0.0.12"))
    ]
    for other in ("hub1", "worker1", "worker2"):
        assert list(sharing.export(wanted, there, other)) == []
    assert problems(wanted) == []


@pytest.mark.parametrize(("disk", "mounted"), [({}, False), ({"disk": "500G"}, True)])
def test_homes_on_a_disk_of_their_own_are_exported_while_it_is_mounted(disk: dict[str, Any], mounted: bool) -> None:
    wanted, there = config({"path": "/srv/homes", "share": "nfs", **disk}), site(addresses=ADDRESSES)
    (export,) = sharing.export(wanted, there, "store")
    assert export.mounted is mounted
    found = engine("swarm").desired_elsewhere(wanted, site(addresses=ADDRESSES, registry=LINK, homes=LINK))
    kinds = [one.kind for one in found["store"] if one.kind in ("disk", "export")]
    assert kinds == (["disk", "export"] if mounted else ["export"])


def test_without_a_machine_for_them_the_hubs_has_the_homes() -> None:
    machines = {name: one for name, one in MACHINES.items() if name != "store"}
    wanted = config().model_copy(update={"machines": {name: config().machines[name] for name in machines}})
    assert [one.path for one in sharing.export(wanted, site(addresses=ADDRESSES), "hub1")] == ["/srv/homes"]
    assert sharing.homes(wanted, site(addresses=ADDRESSES))["server"] == "10.0.0.10"


def test_no_path_is_the_usual_one() -> None:
    (export,) = sharing.export(config({"share": "nfs"}), site(addresses=ADDRESSES), "store")
    assert export.path == "/var/lib/hubfleet/physics101/homes"


def test_servers_mount_from_the_storage_with_what_keeps_files_and_machines_safe() -> None:
    told = sharing.homes(config(), site(addresses=ADDRESSES))
    assert (told["kind"], told["server"], told["path"]) == ("nfs", "10.0.0.9", "/srv/homes")
    assert {"vers=4.2", "hard", "proto=tcp", "nosuid", "nodev"} <= set(told["options"].split(","))
    assert sharing.homes(config({"path": "/srv/homes", "share": "mounted"}), site(addresses=ADDRESSES)) == {
        "kind": "mounted",
        "path": "/srv/homes",
    }
    assert sharing.homes(config("none"), site(addresses=ADDRESSES)) == {"kind": "none"}


def test_the_desired_state_has_it_on_the_machine_with_the_homes() -> None:
    found = engine("swarm").desired_elsewhere(config(), site(addresses=ADDRESSES, registry=LINK, homes=LINK))
    exporting = [name for name, wanted in found.items() if any(isinstance(one, Export) for one in wanted)]
    assert exporting == ["store"]
    closed = {name: [one.closed for one in wanted if isinstance(one, Firewall)] for name, wanted in found.items()}
    assert closed["worker1"] == [(2049,)]
    # Each worker mounts single homes: there is no directory that all see.
    assert not any(isinstance(one, SharedDirectory) for wanted in found.values() for one in wanted)


@pytest.mark.parametrize(
    ("homes", "machines", "addresses", "words"),
    [
        ({"path": "/srv/homes"}, {}, {}, "homes have to be seen by worker1, worker2"),
        (
            None,
            {"store": {"ssh": "store", "roles": ["storage", "worker"]}},
            {},
            "store has the homes and users' servers",
        ),
        (None, {}, {"store": "203.0.113.9"}, ""),
        (None, {}, {"store": "8.8.4.4"}, "homes would pass the internet in the clear, since store is known"),
        (None, {}, {"worker2": "8.8.4.4"}, "machines.worker2.private_ip"),
        (None, {"worker2": {"ssh": "w2", "roles": ["worker"], "private_ip": "8.8.4.4"}}, {"worker2": "8.8.4.4"}, ""),
        (None, {}, {"worker1": "worker1.example.edu"}, "worker1 is reached at worker1.example.edu"),
        (None, {}, {"worker1": "fd00::1"}, "homes are exported to IPv4 addresses"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    homes: Any, machines: dict[str, Any], addresses: dict[str, str], words: str
) -> None:
    found = problems(config(homes, **machines), **addresses)
    assert [words in problem for problem in found] == ([True] if words else [])
    assert all("Try: " in problem for problem in found)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"storage": {"projects": {"path": "/corral"}}}, "projects would be mounted inside homes"),
        ({"storage": {"mounts": ["/work:/home/{username}/work:rw"]}}, "/work would be mounted inside homes"),
        ({"groups": {"ta": {"storage": {"mounts": ["/w/x:/home/{username}/x:ro"]}}}}, "Try: another place in servers"),
        ({"users": {"ada": {"storage": {"mounts": ["/w/x:/home/ada/x:ro"]}}}}, "such as /x; or storage.homes.share"),
        ({"users": {"ada": {"storage": {"mounts": ["/w/x:/home/ben/x:ro"]}}}}, ""),
        ({"storage": {"mounts": ["/work:/home/jupyter/work:rw", "/data:/data:ro"]}}, ""),
    ],
)
def test_nothing_is_mounted_inside_a_home_that_no_root_may_enter(more: dict[str, Any], words: str) -> None:
    def with_homes(share: str) -> Config:
        homes = {"path": "/srv/homes", "share": share}
        given = {"hub": "physics101", "engine": "swarm", "machines": MACHINES, "login": {"password": "file"}, **more}
        return Config.model_validate({**given, "storage": {"homes": homes, **more.get("storage", {})}})

    found = problems(with_homes("nfs"))
    assert [words in problem for problem in found] == ([True] if words else [])
    assert problems(with_homes("mounted")) == []
