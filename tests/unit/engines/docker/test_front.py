"""What engine docker wants of two machines, one of which has the edge only."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hubfleet.config import Config
from hubfleet.engines import engine
from hubfleet.engines.base import TOKENS, Site
from hubfleet.link import Link
from hubfleet.resources import Account, Container, Directory, File, Firewall, Image, Network, Resource, Trial
from sites import site

CANARY = "canary-41d"
LINK = Link("gate certificate", f"{CANARY}-gate", "edge certificate", f"{CANARY}-edge")
HUB1 = {"ssh": "root@192.0.2.7", "private_ip": "10.0.0.10", "roles": ["hub"]}
FRONT = {"ssh": "root@203.0.113.5", "roles": ["edge"]}
STATE = "/var/lib/hubfleet/physics101"


def config(**settings: Any) -> Config:
    machines = {"hub1": {**HUB1, **settings.pop("hub1", {})}, "front": FRONT}
    given = {"hub": "physics101", "engine": "docker", "https": "self-signed", "machines": machines}
    return Config.model_validate({**given, **settings})


def facts(**given: Any) -> Site:
    secrets = {name: f"{CANARY}-{name}" for name in TOKENS}
    return site(link=LINK, hub_address="10.0.0.10", tokens=secrets, **given)


def on_both(**settings: Any) -> tuple[tuple[Resource, ...], tuple[Resource, ...]]:
    """What the hub's machine is to have, and the other."""
    given, found = config(**settings), facts()
    (front,) = engine("docker").desired_elsewhere(given, found).values()
    return engine("docker").desired(given, found), front


def parts(resources: tuple[Resource, ...]) -> dict[str, Container]:
    found = [resource for resource in resources if isinstance(resource, Container)]
    return {container.name.rpartition("-")[2]: container for container in found}


def alone(**settings: Any) -> tuple[Resource, ...]:
    given = config(machines={"hub1": {"ssh": "root@192.0.2.7"}}, **settings)
    assert engine("docker").desired_elsewhere(given, facts()) == {}
    return engine("docker").desired(given, facts())


def test_each_machine_has_its_parts() -> None:
    here, front = on_both()
    assert list(parts(here)) == ["homes", "launcher", "proxy", "hub", "gate"]
    assert list(parts(front)) == ["edge"]
    assert list(parts(alone())) == ["homes", "launcher", "proxy", "hub", "edge"]
    told = engine("docker")
    assert list(told.containers(config())) == ["homes", "launcher", "proxy", "hub", "gate", "edge"]
    assert dict(told.elsewhere(config())) == {"edge": "front"}


def test_ports_are_open_where_they_are_needed_and_nowhere_else() -> None:
    here, front = map(parts, on_both())
    assert {name: part.ports for name, part in here.items() if part.ports} == {"gate": (("10.0.0.10", 7443, 8443),)}
    assert front["edge"].ports == (("0.0.0.0", 443, 8443), ("0.0.0.0", 80, 8080))
    other = parts(on_both(hub1={"private_ip": None, "link_port": 7444})[0])
    assert other["gate"].ports == (("0.0.0.0", 7444, 8443),)


def test_the_edges_machine_has_what_it_needs_and_no_more() -> None:
    here, front = on_both()
    assert {type(item) for item in front}.isdisjoint({Firewall, Trial})
    assert [item.label for item in front if isinstance(item, Image)] == ["edge"]
    assert [item.name for item in front if isinstance(item, Network)] == ["hubfleet-physics101"]
    assert [item.name for item in front if isinstance(item, Account)] == ["hubedge-physics101"]
    for path in (item.path for item in front if isinstance(item, (File, Directory))):
        assert path.startswith("/var/lib/hubfleet")
        assert not any(f"/{word}" in path for word in ("hub/", "launcher", "proxy", "homes", "secrets"))
    (edge,) = parts(front).values()
    assert not any("entrance" in source for source, _, _ in edge.mounts)
    gate = parts(here)["gate"]
    assert gate.user == edge.user == "hubedge-physics101"
    assert not gate.capabilities
    assert gate.read_only


def test_keys_are_secrets_of_their_readers_and_in_nothing_else() -> None:
    here, front = on_both()
    text = json.dumps([dataclasses.asdict(item) for item in front])
    assert f"{CANARY}-gate" not in text
    for resources, keys in ((here, [LINK.gate_key, LINK.edge_key]), (front, [LINK.edge_key])):
        holders = [item for item in resources if isinstance(item, File) and any(key in item.content for key in keys)]
        assert {(item.secret, item.mode) for item in holders} == {(True, 0o600)}
        assert CANARY not in json.dumps([item.redacted().to_json() for item in holders])
        others = [item for item in resources if item not in holders and not (isinstance(item, File) and item.secret)]
        assert not any(key in json.dumps([dataclasses.asdict(item) for item in others]) for key in keys)
    files = {item.path: item for item in (*here, *front) if isinstance(item, File)}
    owners = {
        path: files[f"{STATE}/{path}"].owner for path in ("secrets/link.json", "gate/key.pem", "edge/link/key.pem")
    }
    assert owners == {
        "secrets/link.json": "root",
        "gate/key.pem": "hubedge-physics101",
        "edge/link/key.pem": "hubedge-physics101",
    }


def test_each_end_knows_the_others_certificate() -> None:
    here, front = on_both()
    files = {item.path.removeprefix(f"{STATE}/"): item.content for item in (*here, *front) if isinstance(item, File)}
    assert files["gate/edge.pem"] == files["edge/link/certificate.pem"] == LINK.edge_certificate
    assert files["edge/link/gate.pem"] == files["gate/certificate.pem"] == LINK.gate_certificate
    gate = json.loads(files["gate/caddy.json"])["apps"]["http"]["servers"]["gate"]
    (policy,) = gate["tls_connection_policies"]
    assert policy["client_authentication"]["mode"] == "require_and_verify"
    edge = json.loads(files["edge/caddy.json"])["apps"]["http"]["servers"]["https"]
    proxy = edge["routes"][-1]["handle"][0]
    assert proxy["upstreams"] == [{"dial": "10.0.0.10:7443"}]
    assert "insecure_skip_verify" not in json.dumps(proxy)


def test_what_is_tried_out_does_not_depend_on_where_the_edge_is() -> None:
    tried = [next(item for item in found if isinstance(item, Trial)) for found in (on_both()[0], alone())]
    assert tried[0].fingerprint == tried[1].fingerprint


def test_other_ends_are_other_containers() -> None:
    before = on_both()
    other = dataclasses.replace(facts(), link=dataclasses.replace(LINK, edge_certificate="another"))
    given = config()
    (front,) = engine("docker").desired_elsewhere(given, other).values()
    after = engine("docker").desired(given, other), front
    changed = [
        name
        for was, now in zip(before, after, strict=True)
        for name, part in parts(was).items()
        if part.fingerprint != parts(now)[name].fingerprint
    ]
    assert changed == ["gate", "edge"]


@pytest.mark.parametrize("where", ["gate", "edge"])
def test_the_text(where: str) -> None:
    """After a change that is meant: UPDATE_GOLDEN=1 with this test writes the files anew."""
    resources = on_both()[where == "edge"]
    (text,) = [item.content for item in resources if isinstance(item, File) and item.path.endswith("caddy.json")]
    data = json.loads(text)
    for server in data["apps"]["http"]["servers"].values():
        for route in server.get("errors", {}).get("routes", []):
            for handler in route["handle"]:
                if "body" in handler:
                    handler["body"] = "PAGE"
    golden = Path(__file__).with_name(f"apart-{where}.json")
    made = json.dumps(data, indent=1) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(made)
    assert made == golden.read_text()
