"""What engine docker wants of a machine: who sees what, and where secrets are."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from hubfleet.config import Config
from hubfleet.engines import engine
from hubfleet.engines.base import TOKENS
from hubfleet.engines.docker.desired import desired_state
from hubfleet.layout import Layout
from hubfleet.resources import Container, Directory, File, Firewall, Image, Network, Resource, Skeleton, Trial
from sites import site

CANARY = "canary-41d"
SECRETS = {
    "tokens": {name: f"{CANARY}-{name}" for name in TOKENS},
    "passwords": {"class_password": CANARY},
}


TWO = {
    "hub1": {"ssh": "root@192.0.2.7", "private_ip": "10.0.0.10", "roles": ["hub"]},
    "front": {"ssh": "root@203.0.113.5", "roles": ["edge"]},
}


def wanted(**settings: Any) -> tuple[Resource, ...]:
    given = {"hub": "physics101", "engine": "docker", "login": {"password": "file"}, **settings}
    return desired_state(Config.model_validate(given), site(**SECRETS))


def parts(**settings: Any) -> dict[str, Container]:
    found = [resource for resource in wanted(**settings) if isinstance(resource, Container)]
    return {container.name.rpartition("-")[2]: container for container in found}


def images(**settings: Any) -> dict[str, Image]:
    return {resource.label: resource for resource in wanted(**settings) if isinstance(resource, Image)}


def test_only_the_launcher_may_speak_to_the_engine() -> None:
    sees = {name: [source for source, _, _ in part.mounts] for name, part in parts().items()}
    assert [name for name, sources in sees.items() if "/var/run/docker.sock" in sources] == ["launcher"]
    assert [name for name, sources in sees.items() if "/" in sources] == ["launcher"]
    for name in ("hub", "proxy", "edge"):
        for source in sees[name]:
            assert source.startswith("/var/lib/hubfleet/physics101/"), (name, source)
            assert "secrets" not in source
            assert "homes" not in source


def test_who_is_root_and_what_that_may() -> None:
    for part in parts().values():
        assert part.read_only
        assert part.ready in part.health
    assert {name for name, part in parts().items() if not part.user} == {"homes", "launcher"}
    assert {name: part.capabilities for name, part in parts().items() if part.capabilities} == {
        "homes": ("CHOWN", "DAC_OVERRIDE", "FOWNER"),
        "launcher": ("CHOWN", "DAC_OVERRIDE"),
    }


@pytest.mark.parametrize("place", ["", "/srv/homes"])
def test_homes_are_for_their_keeper_and_nobody_else_writes_there(place: str, tmp_path: Path) -> None:
    given = {"skeleton": str(tmp_path), **({"path": place} if place else {})}
    made, homes = parts(storage={"homes": given}), place or "/var/lib/hubfleet/physics101/homes"
    state = "/var/lib/hubfleet/physics101"
    assert made["homes"].mounts == (
        (homes, homes, "rw"),
        (f"{state}/keeper", f"{state}/keeper", "ro"),
        (f"{state}/skeletons", f"{state}/skeletons", "ro"),
        (f"{state}/run/keeper", f"{state}/run/keeper", "rw"),
    )
    assert (made["homes"].network, made["homes"].networks, made["homes"].ports) == ("none", (), ())
    assert [(source, mode) for source, _, mode in made["launcher"].mounts if source == homes] == (
        [] if place else [(homes, "ro")]
    )
    for name in set(made) - {"homes", "launcher"}:
        assert not [source for source, _, _ in made[name].mounts if f"{homes}/".startswith(f"{source}/")], name


def test_who_keeps_homes_is_told_by_its_own_file_and_starts_before_the_launcher(tmp_path: Path) -> None:
    found = wanted(storage={"homes": {"skeleton": str(tmp_path)}, "owner": {"minimum": 500}})
    (file,) = [item for item in found if isinstance(item, File) and item.path.endswith("/keeper.json")]
    (skeleton,) = [item for item in found if isinstance(item, Skeleton)]
    assert json.loads(file.content) == {
        "place": "/var/lib/hubfleet/physics101/homes",
        "skeleton": skeleton.path,
        "minimum": 500,
        "limits": {"usual": None, "people": {}},
        "socket": "/var/lib/hubfleet/physics101/run/keeper/keeper.sock",
        "line": None,
    }
    names = [item.name for item in found if isinstance(item, Container)]
    assert names[:2] == ["hubfleet-physics101-homes", "hubfleet-physics101-launcher"]
    before, after = parts(), parts(storage={"homes": {"skeleton": str(tmp_path)}})
    assert {name for name in before if before[name].fingerprint != after[name].fingerprint} >= {"homes"}


def test_only_where_homes_are_counted_their_keeper_may_set_limits() -> None:
    plain, counting = parts()["homes"], parts(storage={"homes": {"quota": "10G"}})["homes"]
    assert set(counting.capabilities) - set(plain.capabilities) == {"SYS_ADMIN"}
    assert [mount for mount in counting.mounts if mount not in plain.mounts] == [("/dev", "/host/dev", "ro")]


def test_where_homes_are_not_kept_nobody_keeps_them() -> None:
    found = wanted(storage={"homes": "none"})
    assert "homes" not in parts(storage={"homes": "none"})
    assert not [item for item in found if "keeper" in item.id]


def test_who_needs_no_network_has_none() -> None:
    assert {name: part.network for name, part in parts().items()} == {
        "homes": "none",
        "launcher": "none",
        "proxy": "none",
        "hub": "hubfleet-physics101",
        "edge": "hubfleet-physics101",
    }
    assert {name for name, part in parts().items() if part.ports} == {"edge"}


def test_users_are_on_a_network_of_their_own_behind_the_firewall() -> None:
    networks = {resource.name: resource for resource in wanted() if isinstance(resource, Network)}
    users = networks["hubfleet-physics101-users"]
    assert users.isolated
    assert len(users.bridge) <= 15
    firewall = next(
        resource for resource in wanted(network={"allow": ["10.20.0.0/16"]}) if isinstance(resource, Firewall)
    )
    assert (firewall.interface, firewall.allow) == (users.bridge, ("10.20.0.0/16",))


def test_secrets_are_in_files_of_their_readers_only() -> None:
    secret = [resource for resource in wanted() if isinstance(resource, File) and CANARY in resource.content]
    assert {Path(file.path).name for file in secret} == {"tokens.json", "hub-secrets.json", "token"}
    for file in secret:
        assert file.secret
        assert file.mode == 0o600
        assert CANARY not in json.dumps(file.redacted().to_json())
    others = [resource for resource in wanted() if resource not in secret]
    assert CANARY not in json.dumps([dataclasses.asdict(resource) for resource in others])


def test_the_key_of_a_certificate_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "hub.key").write_text(CANARY)
    (tmp_path / "hub.pem").write_text("certificate")
    https = {"certificate": str(tmp_path / "hub.pem"), "key": str(tmp_path / "hub.key")}
    files = [resource for resource in wanted(https=https) if isinstance(resource, File)]
    (key,) = [file for file in files if file.content == CANARY]
    assert (key.secret, key.mode, key.owner) == (True, 0o600, "hubedge-physics101")


def test_a_certificate_among_the_secrets_is_given_to_the_edge_and_its_key_is_one() -> None:
    config = Config.model_validate(
        {"hub": "physics101", "engine": "docker", "domain": "hub.example.edu", "https": "secrets"}
    )
    assert [problem.partition(". Try: ")[0] for problem in engine("docker").problems(config, site())] == [
        "https needs the secret https_certificate",
        "https needs the secret https_key",
    ]
    given = {"https_certificate": "certificate", "https_key": CANARY}
    files = [one for one in desired_state(config, site(service_secrets=given)) if isinstance(one, File) and one.content]
    (certificate,) = [file for file in files if file.content == "certificate"]
    (key,) = [file for file in files if file.content == CANARY]
    assert (key.secret, key.mode, key.owner) == (True, 0o600, "hubedge-physics101")
    (caddy,) = [file.content for file in files if file.path.endswith("edge/caddy.json")]
    assert certificate.path in caddy
    assert key.path in caddy
    assert CANARY not in caddy


def test_a_part_is_replaced_when_what_it_reads_has_changed_and_not_otherwise() -> None:
    before, after = parts(), parts(servers={"memory": {"limit": "1G"}})
    changed = {name for name in before if before[name].fingerprint != after[name].fingerprint}
    assert changed == {"launcher"}


def test_images_are_named_by_what_is_in_them() -> None:
    before = images()
    assert images() == before
    assert images(servers={"memory": {"limit": "1G"}}) == before
    more = images(servers={"packages": ["seaborn"]})
    assert (more["hub"].tag, more["users"].tag != before["users"].tag) == (before["hub"].tag, True)
    other = images(base_image="debian:13-slim")
    assert all(other[label].tag != before[label].tag for label in before)
    own = images(hub_image="quay.io/ours/hub:3")
    assert {label for label in before if own[label].tag != before[label].tag} == {"hub"}
    assert own["hub"].base == "quay.io/ours/hub:3"
    # What the engine is told beside does not change what is built.
    behind = images(network={"proxy": "http://proxy.example.edu:3128"})
    assert {label: image.tag for label, image in behind.items()} == {
        label: image.tag for label, image in before.items()
    }
    assert behind["hub"].arguments["https_proxy"] == "http://proxy.example.edu:3128"


def test_sites_with_certificates_of_their_own_have_them_in_images_and_in_the_hub(tmp_path: Path) -> None:
    bundle = tmp_path / "site.crt"
    bundle.write_text("certificate")
    found = wanted(network={"ca_bundle": str(bundle)})
    program = next(item for item in found if isinstance(item, File) and item.path.endswith("hub/program.json"))
    assert json.loads(program.content)["environment"]["SSL_CERT_FILE"] == "/opt/hubfleet/ca-bundle.crt"
    for image in (item for item in found if isinstance(item, Image)):
        assert "first/site.crt" in image.files()


def test_the_directories_of_sockets_admit_who_needs_them() -> None:
    found = {resource.path: resource for resource in wanted() if isinstance(resource, Directory)}
    run = "/var/lib/hubfleet/physics101/run"
    hub, proxy, edge = "hubfleet-physics101", "hubproxy-physics101", "hubedge-physics101"
    assert {
        path.removeprefix(run): (one.owner, one.group, one.mode) for path, one in found.items() if path.startswith(run)
    } == {
        "": ("root", "root", 0o711),
        "/hub": (hub, hub, 0o755),
        "/proxy": (proxy, hub, 0o2710),
        "/entrance": (proxy, edge, 0o2710),
        "/edge": (edge, edge, 0o700),
        "/keeper": ("root", "root", 0o700),
        "/launcher": ("root", hub, 0o710),
        "/servers": ("root", "root", 0o711),
    }


def test_new_homes_begin_as_the_skeleton_that_is_on_the_machine(tmp_path: Path) -> None:
    (tmp_path / "start.ipynb").write_text("{}")
    found = wanted(storage={"homes": {"skeleton": str(tmp_path)}})
    (skeleton,) = [item for item in found if isinstance(item, Skeleton)]
    trial = next(item for item in found if isinstance(item, Trial))
    assert found.index(skeleton) < found.index(trial), "what is tried out has it too"
    files = [item for item in (*found, *trial.files) if isinstance(item, File)]
    (keeper,) = [json.loads(file.content) for file in files if file.path.endswith("/keeper.json")]
    launchers = [json.loads(file.content) for file in files if file.path.endswith("/launcher.json")]
    assert keeper["skeleton"] == skeleton.path
    assert [one["engine"]["skeleton"] for one in launchers] == [None, skeleton.path], "the trial's homes are its own"
    assert Directory(str(Path(skeleton.path).parent), "root", "root", 0o700) in found
    assert not [item for item in wanted() if isinstance(item, Skeleton)]


@pytest.mark.parametrize(
    ("settings", "requirements", "privileged", "word"),
    [
        ({}, f"--index-url https://me:{CANARY}@mirror/simple\n", True, "an address with a password"),
        ({}, "", False, "the same command with sudo"),
    ],
)
def test_what_is_not_possible_is_refused(
    settings: dict[str, Any], requirements: str, privileged: bool, word: str
) -> None:
    config = Config.model_validate({"hub": "a", "engine": "docker", "login": {"password": "file"}, **settings})
    found = site("a", requirements=requirements, layout=Layout("a", Path("/var/lib/hubfleet"), privileged))
    (problem,) = engine("docker").problems(config, found)
    assert word in problem
    assert "Try: " in problem
    assert CANARY not in problem


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"domain": "hub.example.edu"}, "https://hub.example.edu"),
        ({"https": "self-signed", "machines": {"a": {"ssh": "root@192.0.2.7:2222"}}}, "https://192.0.2.7"),
        ({"https": "self-signed", "machines": TWO}, "https://203.0.113.5"),
        ({"listen": {"address": "0.0.0.0"}, "machines": {"a": {"ssh": "root@192.0.2.7"}}}, "http://192.0.2.7:8000"),
    ],
)
def test_where_people_go(settings: dict[str, Any], url: str) -> None:
    config = Config.model_validate({"hub": "a", "engine": "docker", "login": {"password": "file"}, **settings})
    assert engine("docker").url(config) == url


TAS = {"tas": {"url": "https://tas.example.edu/api/v1", "account": "hub"}}
SERVICE_SECRETS = {"owner_password": f"{CANARY}-tas", "projects_token": f"{CANARY}-projects"}


def asking(**storage: Any) -> tuple[Resource, ...]:
    config = Config.model_validate({"hub": "physics101", "engine": "docker", "storage": storage})
    return desired_state(config, site(**SECRETS, service_secrets=SERVICE_SECRETS, owner_command="#!/bin/sh\n"))


def test_only_a_launcher_that_asks_services_has_a_network_and_only_it_their_secrets() -> None:
    made = asking(owner=TAS, projects={"path": "/corral", "service": "https://projects.example.edu"})
    launcher = next(one for one in made if isinstance(one, Container) and one.name.endswith("-launcher"))
    assert launcher.network == "hubfleet-physics101"
    holding = [one for one in made if isinstance(one, File) and f"{CANARY}-tas" in one.content]
    assert [(file.path, file.owner, file.mode, file.secret) for file in holding] == [
        ("/var/lib/hubfleet/physics101/launcher/launcher-secrets.json", "root", 0o600, True)
    ]
    assert json.loads(holding[0].content) == SERVICE_SECRETS
    assert holding[0].path in launcher.reads
    described = json.dumps([dataclasses.asdict(one) for one in made if not isinstance(one, File)])
    assert f"{CANARY}-tas" not in described, "a trial has nobody to ask"
    assert not any("launcher-secrets" in one.id for one in asking())
    assert f"{CANARY}-tas" not in str(made)


def test_a_sites_own_program_goes_along() -> None:
    made = asking(owner={"command": "/home/op/owner-of.sh"})
    (program,) = [one for one in made if isinstance(one, File) and one.path.endswith("/owner-command")]
    assert (program.content, program.owner, program.mode) == ("#!/bin/sh\n", "root", 0o755)


@pytest.mark.parametrize(
    ("storage", "given", "words"),
    [
        ({"owner": TAS}, {}, "storage.owner.tas needs the secret owner_password. Try: write `owner_password: ...`"),
        (
            {"projects": {"path": "/corral", "service": "https://p.example.edu"}},
            {},
            "storage.projects.service needs the secret projects_token",
        ),
        (
            {"owner": {"tas": {"url": "http://127.0.0.1/api", "account": "hub"}}},
            {"service_secrets": SERVICE_SECRETS},
            "http://127.0.0.1/api leads a container to itself",
        ),
        ({"owner": {"command": "/x"}}, {"owner_command": "\x7fELF"}, "storage.owner.command is no script"),
    ],
)
def test_what_services_need(storage: dict[str, Any], given: dict[str, Any], words: str) -> None:
    config = Config.model_validate({"hub": "physics101", "engine": "docker", "storage": storage})
    (problem,) = engine("docker").problems(config, site(**SECRETS, **given))
    assert words in problem
