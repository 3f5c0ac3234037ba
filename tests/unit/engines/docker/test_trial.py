"""What a new generation is tried out with: the hub that would be, with nothing of the one that serves."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from hubfleet.config import Config
from hubfleet.engines.docker.desired import desired_state
from hubfleet.engines.docker.trial import beside
from hubfleet.resources import Container, File, Firewall, Network, Trial, from_json
from hubfleet.resources.registry import KINDS
from unit.engines.docker.test_desired import CANARY, site, wanted

REAL, SECOND = "/var/lib/hubfleet/physics101", "/var/lib/hubfleet/physics101_try"


def trial(**settings: Any) -> Trial:
    return next(resource for resource in wanted(**settings) if isinstance(resource, Trial))


def launcher(made: Trial) -> dict[str, Any]:
    return next(json.loads(file.content) for file in made.files if file.path.endswith("/launcher.json"))


def test_it_comes_before_everything_that_those_who_serve_would_read() -> None:
    kinds = [type(resource) for resource in wanted()]
    at = kinds.index(Trial)
    assert not {File, Container} & set(kinds[:at])
    assert not {Network, Firewall} & set(kinds[at:]), "its users' servers are behind the firewall too"


def test_it_has_nothing_of_the_hub_that_serves() -> None:
    made = trial()
    serving = {resource.name for resource in wanted() if isinstance(resource, Container)}
    assert not serving & {one.name for one in (*made.containers, made.person)}
    assert made.serving in serving
    assert made.place == SECOND
    for item in (*made.directories, *made.files):
        assert f"{item.path}/".startswith(f"{SECOND}/")
    proxy, starts, hub = made.containers
    for one in (proxy, hub, made.person):
        assert all(source.startswith(f"{SECOND}/") for source, _, _ in one.mounts)
    assert f"{REAL}/" not in json.dumps([dataclasses.asdict(one) for one in (*made.containers, made.person)])
    assert starts.argv[-1] == f"{SECOND}/launcher/launcher.json"
    assert not [one.ports for one in (*made.containers, made.person) if one.ports]
    assert (launcher(made)["engine"]["hub"], launcher(made)["engine"]["keeper"]) == ("physics101_try", None)


def test_it_runs_what_the_hub_would_run() -> None:
    real = {resource.name: resource for resource in wanted() if isinstance(resource, Container)}
    for one in trial().containers:
        there = real[one.name.replace("physics101_try", "physics101")]
        assert (one.image, one.user, one.groups, one.network) == (there.image, there.user, there.groups, there.network)
        assert one.argv[:-1] == there.argv[:-1]
        assert (one.capabilities, one.read_only) == (there.capabilities, True)


def test_it_has_no_secret_and_only_secret_files_have_marks() -> None:
    made = trial()
    assert CANARY not in json.dumps(made.to_json())
    marked = {Path(file.path).name for file in made.files if re.search("@@.+?@@", file.content)}
    assert marked == {"hub-secrets.json", "token", "person.json"} == {Path(f.path).name for f in made.files if f.secret}


def test_mounts_that_each_person_has_are_left_out() -> None:
    mounts = ["/srv/published:/srv/published:ro", "/work/{username}:/work:rw"]
    assert launcher(trial(storage={"mounts": mounts}))["config"]["storage"]["mounts"] == mounts[:1]


def test_the_longest_name_of_a_hub_leaves_room_for_its_sockets() -> None:
    config = Config.model_validate({"hub": "a" * 40, "engine": "docker", "login": {"password": "file"}})
    made = next(item for item in desired_state(config, site("a" * 40)) if isinstance(item, Trial))
    assert f"{made.place}/run/servers" in {one.path for one in made.directories}


def test_json_there_and_back_and_the_agent_knows_it() -> None:
    made = trial()
    back = from_json(json.loads(json.dumps(made.to_json())))
    assert back == made
    assert isinstance(back, Trial)
    assert back.fingerprint == made.fingerprint
    assert made.kind in KINDS


@pytest.mark.parametrize(
    "settings",
    [
        {"servers": {"packages": ["seaborn"]}},
        {"servers": {"memory": {"limit": "1G"}}},
        {"login": {"password": "file", "admins": ["ada"]}},
        {"base_image": "debian:13-slim"},
    ],
)
def test_what_images_or_parts_read_has_changed(settings: dict[str, Any]) -> None:
    assert trial(**settings).fingerprint != trial().fingerprint


def test_other_secrets_are_no_reason_for_a_trial() -> None:
    config = Config.model_validate({"hub": "physics101", "engine": "docker", "login": {"password": "file"}})
    other = dataclasses.replace(
        site(), passwords={"class_password": "another"}, tokens=dict.fromkeys(site().tokens, "x")
    )
    made = next(item for item in desired_state(config, other) if isinstance(item, Trial))
    assert made.fingerprint == trial().fingerprint


VOUCHED = {"github": {"client_id": "a"}, "allow": {"users": ["ada"]}}


def test_a_hub_whose_people_a_provider_vouches_for_is_tried_out_too() -> None:
    """Its hub knows no secret of the provider, for which it has no use, and the list of names is no part of it."""
    config = Config.model_validate({"hub": "physics101", "engine": "docker", "login": VOUCHED})
    given = dataclasses.replace(site(), passwords={"client_secret": CANARY}, listed=("ben",))
    made = next(item for item in desired_state(config, given) if isinstance(item, Trial))
    described = json.dumps([dataclasses.asdict(file) for file in made.files])
    assert CANARY not in described
    assert "ben" not in described
    [rules] = [file for file in made.files if file.path == f"{SECOND}/hub/rules.json"]
    assert json.loads(rules.content)["names"] == ["ada"]
    other = dataclasses.replace(given, listed=("cem",))
    again = next(item for item in desired_state(config, other) if isinstance(item, Trial))
    assert again.fingerprint == made.fingerprint


def test_another_list_of_names_replaces_no_part() -> None:
    config = Config.model_validate({"hub": "physics101", "engine": "docker", "login": VOUCHED})
    one, other = (
        list(desired_state(config, dataclasses.replace(site(), listed=names))) for names in (("ben",), ("cem",))
    )
    changed = [before for before, after in zip(one, other, strict=True) if before != after]
    assert [item.path for item in changed if isinstance(item, File)] == [f"{REAL}/hub/rules.json"]
    assert len(changed) == 1


def test_when_it_is_tried_out() -> None:
    made = trial()
    passed = {"passed": made.fingerprint, "left": False}
    assert made.diff(passed) is None
    for observed in (
        None,
        {"passed": "another", "left": False},
        {"passed": "", "left": True},
        {**passed, "left": True},
    ):
        change = made.diff(observed)
        assert change
        assert f"{change.action} {change.resource.title}" == "try out the new generation with a test user"
        assert change.impact == ""
        assert ("broken off" in change.detail[0]) == bool(observed == {**passed, "left": True})


def test_it_asks_nobody_who_the_test_user_is() -> None:
    storage = {
        "owner": {"tas": {"url": "https://tas.example.edu/api/v1", "account": "hub"}},
        "projects": {"path": "/corral", "service": "https://projects.example.edu"},
        "mounts": ["/work/{tas_homeDirectory}:/work:rw", "/srv/data:/data:ro"],
    }
    told = launcher(trial(storage=storage))["config"]["storage"]
    assert told["owner"]["tas"] is None
    assert told["projects"] is None
    assert told["mounts"] == ["/srv/data:/data:ro"]
    assert {one.network for one in trial(storage=storage).containers if one.name.endswith("launcher")} == {"none"}


@pytest.mark.parametrize(("roles", "shown"), [(["hub"], False), (["hub", "worker"], True)])
def test_on_a_fleet_it_is_shown_what_the_hubs_machine_has_by_its_role(roles: list[str], shown: bool) -> None:
    """Its servers are on that machine, and `check` looks for mounts on those with role worker."""
    storage = {
        "mounts": ["/srv/data:/data:ro"],
        "must_be_mounted": ["/srv/data"],
        "homes": {"path": "/srv/homes", "share": "mounted"},
    }
    machines = {"hub1": {"ssh": "hub1", "roles": roles}, "worker1": {"ssh": "worker1", "roles": ["worker"]}}
    given = {"hub": "physics101", "engine": "swarm", "storage": storage, "machines": machines}
    config, _ = beside(Config.model_validate({**given, "login": {"password": "file"}}), site())
    assert [str(mount) for mount in config.storage.mounts] == (storage["mounts"] if shown else [])
    assert list(config.storage.must_be_mounted) == (storage["must_be_mounted"] if shown else [])
