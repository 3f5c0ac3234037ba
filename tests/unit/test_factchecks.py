"""What is said of a machine, over tables of facts."""

from __future__ import annotations

from typing import Any

import pytest

from hubfleet.checks import Finding, failures, places
from hubfleet.config import Config
from hubfleet.engines import engine
from hubfleet.factchecks import ALL, judged

HEALTHY: dict[str, Any] = {
    "system": "debian",
    "version": "12",
    "kernel": "6.1.0",
    "architecture": "x86_64",
    "systemd": True,
    "sqlite": True,
    "images_place": "/var/lib/docker",
    "disk_free": 20 * 1024**3,
    "state_free": 20 * 1024**3,
    "memory": 8 * 1024**3,
    "tools": ["apt-get", "nft", "systemctl"],
    "addresses": ["203.0.113.10"],
    "features": {"overlay": True, "nf_tables": True, "memory": True},
    "firewalls": [],
    "docker": None,
    "listening": {},
    "ports": {},
}
DOCKER = {"version": "20.10.24", "live_restore": True, "swarm": False, "hubs": []}
NGINX = {"name": "nginx", "pid": 77}
PROXY = {"name": "docker-proxy", "pid": 78}


def said(facts: dict[str, Any], skew: float = 0, **settings: Any) -> list[Finding]:
    config = Config.model_validate({"hub": "physics101", "engine": "docker", **settings})
    return judged(config, engine("docker"), {**HEALTHY, **facts}, skew)


def test_nothing_is_wrong_with_a_healthy_machine() -> None:
    assert {finding.level for finding in said({})} == {"ok"}
    assert {finding.level for finding in said({"docker": DOCKER}, https="self-signed")} == {"ok"}


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        ({"system": "ubuntu", "version": "24.04"}, "ok", "ubuntu 24.04 (x86_64"),
        ({"system": "raspbian"}, "note", "raspbian 12"),
        ({"system": "fedora", "tools": [], "docker": DOCKER}, "note", "not tried there"),
        ({"system": "fedora", "tools": []}, "problem", "Try: install Docker there"),
        ({"systemd": False}, "note", "after a reboot"),
        ({"sqlite": False}, "note", "has no sqlite3"),
        ({"disk_free": 2 * 1024**3}, "problem", "Try: free some space"),
        ({"disk_free": 2 * 1024**3, "docker": DOCKER}, "note", "2.0 GB free"),
        ({"state_free": 5 * 1024**2, "docker": DOCKER}, "problem", "5 MB are free for homes"),
        ({"memory": 512 * 1024**2}, "note", "0.5 GB memory"),
        ({"features": {**HEALTHY["features"], "overlay": False}}, "problem", "no overlayfs"),
        ({"features": {**HEALTHY["features"], "nf_tables": False}}, "problem", "no nf_tables"),
        ({"features": {**HEALTHY["features"], "memory": False}}, "problem", "Try: cgroup_enable=memory"),
        ({"features": {**HEALTHY["features"], "overlay": None}}, "note", "cannot be seen"),
        ({"docker": {**DOCKER, "version": ""}}, "note", "does not run"),
        ({"docker": {**DOCKER, "version": "19.03.1"}}, "problem", "Try: install 20.10 or newer"),
        ({"docker": {**DOCKER, "swarm": True, "hubs": []}}, "problem", "Try: docker swarm leave"),
        ({"docker": {**DOCKER, "live_restore": False}}, "ok", "it is switched on"),
        ({"listening": {"443": NGINX}}, "problem", "nginx (pid 77) holds port 443. Try: end it"),
        ({"listening": {"80": PROXY}, "ports": {"80": "shop"}}, "problem", "container shop holds port 80"),
        ({"listening": {"80": PROXY}, "ports": {"80": "hubfleet-physics101-edge"}}, "ok", "port 80 is this hub's"),
        ({"listening": {"80": PROXY}, "ports": {"80": "hubfleet-other-edge"}}, "problem", "hubfleet-other-edge holds"),
    ],
)
def test_each_fact_has_its_sentence(facts: dict[str, Any], level: str, words: str) -> None:
    found = said(facts, https="self-signed")
    assert [finding.level for finding in found if words in finding.text] == [level], found
    assert len(failures(found)) == (level == "problem")


@pytest.mark.parametrize(
    ("free", "lacks", "level", "words"),
    [
        (1, 0, "note", "1.0 GB free for images (/srv/docker)"),
        (2.5, 2, "note", "2.5 GB free"),
        (
            2.5,
            3,
            "problem",
            "2.5 GB free for images (/srv/docker); about 3 GB are needed for the 3 that are to be made",
        ),
        (5, 9, "problem", "about 6 GB are needed"),
        (7, 9, "ok", "7.0 GB free"),
    ],
)
def test_little_room_matters_where_images_are_to_be_made(free: float, lacks: int, level: str, words: str) -> None:
    config = Config.model_validate({"hub": "physics101", "engine": "docker"})
    facts = {**HEALTHY, "docker": DOCKER, "images_place": "/srv/docker", "disk_free": int(free * 1024**3)}
    found = judged(config, engine("docker"), facts, 0, lacks=lacks)
    assert [one.level for one in found if words in one.text] == [level], found
    assert len(failures(found)) == (level == "problem")


@pytest.mark.parametrize(
    ("skew", "level", "words"),
    [
        (200, "ok", "differs by 200 s"),
        (-299, "ok", "differs by 299 s"),
        (86400, "problem", "86400 s ahead"),
        (-3600, "problem", "3600 s behind"),
    ],
)
def test_a_clock_that_goes_wrong(skew: float, level: str, words: str) -> None:
    (found,) = [finding for finding in said({}, skew) if "clock" in finding.text]
    assert (found.level, words in found.text) == (level, True), found


def test_the_port_of_a_hub_without_https() -> None:
    found = said({"listening": {"8123": NGINX}}, listen={"port": 8123})
    assert [finding.text for finding in failures(found)] == [
        "nginx (pid 77) holds port 8123. Try: end it, or choose another port"
    ]


@pytest.mark.parametrize(("roles", "free"), [({"hub"}, [7443]), ({"edge"}, [443, 80])])
def test_each_of_two_machines_is_asked_for_its_own_ports(roles: set[str], free: list[int]) -> None:
    machines = {"hub1": {"ssh": "a", "roles": ["hub"]}, "front": {"ssh": "b", "roles": ["edge"]}}
    given = {"hub": "physics101", "engine": "docker", "https": "self-signed", "machines": machines}
    config = Config.model_validate({**given, "servers": {"memory": {"limit": "1G"}}})
    found = [one.text for one in judged(config, engine("docker"), HEALTHY, 0, roles)]
    assert [text for text in found if text.startswith("port ")] == [f"port {port} is free" for port in free]
    assert any("enough for 8 servers" in text for text in found) == (roles == {"hub"})
    ours = {"443": "hubfleet-physics101-edge", "80": "hubfleet-physics101-edge", "7443": "hubfleet-physics101-gate"}
    there = {"listening": dict.fromkeys(ours, PROXY), "ports": ours}
    assert failures(judged(config, engine("docker"), {**HEALTHY, **there}, 0, roles)) == []


@pytest.mark.parametrize(
    ("apart", "holds", "wants", "setting"),
    [(True, "edge", "gate", "machines.hub1.link_port"), (False, "gate", "edge", "listen.port")],
)
def test_a_port_is_not_free_while_what_served_before_has_it(apart: bool, holds: str, wants: str, setting: str) -> None:
    """One way in is on this machine now and another is to be: both run for a moment."""
    machines: dict[str, Any] = {"hub1": {"ssh": "a"}}
    if apart:
        machines = {"hub1": {"ssh": "a", "roles": ["hub"], "link_port": 8000}, "front": {"ssh": "b", "roles": ["edge"]}}
    config = Config.model_validate({"hub": "physics101", "engine": "docker", "https": "off", "machines": machines})
    held = {"listening": {"8000": PROXY}, "ports": {"8000": f"hubfleet-physics101-{holds}"}}
    (problem,) = failures(judged(config, engine("docker"), {**HEALTHY, **held}, 0, {"hub"} if apart else ALL))
    assert f"hubfleet-physics101-{holds} holds port 8000, and goes on until hubfleet-physics101-{wants}" in problem.text
    assert problem.text.endswith(f"Try: {setting}: another port")


def test_what_servers_are_shown_is_there_on_the_machine() -> None:
    settings = {
        "must_be_mounted": ["/work"],
        "mounts": ["/work/{tas_homeDirectory}:/work:rw", "/srv/data:/data:ro"],
        "projects": {"path": "/corral"},
        "owner": {"tas": {"url": "https://tas.example.edu", "account": "hub"}},
    }
    config = Config.model_validate({"hub": "physics101", "engine": "docker", "storage": settings})
    table = "31 23 0:44 / /work rw,relatime - lustre mds@tcp:/work rw\n"
    assert {one.level for one in places(config, lambda path: True, table, "hub1")} == {"ok"}
    found = list(places(config, {"/work"}.__contains__, "", "hub1"))
    assert [one.text for one in failures(found)] == [
        "/work is not mounted on hub1. Try: mount it, there",
        "/srv/data is missing on hub1. Try: create it, or remove the mount",
        "/corral is missing on hub1. Try: create it, or remove the mount",
    ]
