"""What the hub is told of who vouches for people, and what it lacks for that."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from hubfleet.config import Config
from hubfleet.engines import engine, logins
from hubfleet.engines.settings import hub_settings
from providers import Google
from unit.engines.docker.test_desired import site

EVERYBODY = {"everybody": True}
WORKSPACE = {"client_id": "a", "groups": {"administrator": "admin@example.edu"}}


def config(login: dict[str, Any], name: str = "docker", **more: Any) -> Config:
    return Config.model_validate({"hub": "physics101", "engine": name, "login": login, **more})


@pytest.mark.parametrize(
    ("login", "name", "more", "callback"),
    [
        ({}, "docker", {"domain": "hub.example.edu"}, "https://hub.example.edu/hub/oauth_callback"),
        ({}, "local", {}, "http://127.0.0.1:8000/hub/oauth_callback"),
        (
            {"callback": "https://front.example.edu/hub/oauth_callback"},
            "local",
            {},
            "https://front.example.edu/hub/oauth_callback",
        ),
    ],
)
def test_where_people_are_sent_back_to(login: dict[str, str], name: str, more: dict[str, Any], callback: str) -> None:
    found = config({"github": {"client_id": "a", **login}, "allow": EVERYBODY}, name, **more)
    assert logins.callback(found) == callback
    told = logins.told(found)
    assert told
    assert told["callback"] == callback


def test_the_hub_is_told_nothing_secret() -> None:
    found = config({"tapis": {"client_id": "a", "tenant": "designsafe", "version": 2}, "allow": EVERYBODY})
    given = dataclasses.replace(site(), passwords={"client_secret": "canary-secret"})
    text = json.dumps(logins.told(found)) + logins.file(found, given, "hub")["rules"].content
    assert "canary" not in text


def test_rules_of_all_kinds() -> None:
    login = {
        "github": {"client_id": "a"},
        "admins": ["profx"],
        "allow": {"users": ["Ada"], "teams": ["Edu/Physics"], "organizations": ["EDU"]},
        "block": ["mallory"],
        "when_removed": "keep",
    }
    rules = logins.rules(config(login), ("ben",))
    assert (rules.admins, rules.names, rules.block) == ({"profx"}, {"ada", "ben"}, {"mallory"})
    assert (rules.groups, rules.organizations, rules.everybody, rules.stop) == ({"edu/physics"}, {"edu"}, False, False)
    told = logins.told(config(login))
    assert told
    assert told["asks"] == ["groups", "organizations"]


def test_a_provider_is_asked_for_groups_that_count_for_what_people_get() -> None:
    login = {"github": {"client_id": "a"}, "allow": EVERYBODY}
    asks = [
        (logins.told(config(login, groups={"staff": group})) or {})["asks"]
        for group in ({"members": ["ada"]}, {"hub": True}, {"provider": ["edu/physics"]})
    ]
    assert asks == [[], [], ["groups"]]


@pytest.mark.parametrize(
    ("login", "secrets", "said"),
    [
        (
            {"google": WORKSPACE},
            {"client_secret": "x"},
            "login.google needs the secret google_key. Try: write `google_key: !command cat key.json` into the file",
        ),
        ({"google": WORKSPACE}, {"client_secret": "x", "google_key": Google().key_file()}, ""),
        (
            {"google": WORKSPACE},
            {"client_secret": "x", "google_key": "canary"},
            "login.google: the secret google_key is not JSON. Try: google_key: !command cat key.json",
        ),
        ({"google": {"client_id": "a"}}, {"client_secret": "x", "google_key": "canary"}, ""),
        ({"github": {"client_id": "a"}}, {}, "login.github needs the secret client_secret."),
        ({"github": {"client_id": "a"}}, {"client_secret": "x"}, ""),
        ({"tapis": {"tenant": "designsafe"}}, {}, "login.tapis has no client_id. Try: hubfleet oauth register"),
        (
            {"oidc": {"issuer": "http://127.0.0.1:5000", "client_id": "a"}},
            {"client_secret": "x"},
            "login.oidc: http://127.0.0.1:5000 leads a container to itself.",
        ),
    ],
)
def test_what_the_hub_lacks(login: dict[str, Any], secrets: dict[str, str], said: str) -> None:
    found = config({**login, "allow": EVERYBODY})
    problems = engine("docker").problems(found, dataclasses.replace(site(), passwords=secrets))
    assert [problem for problem in problems if said in problem] if said else not problems
    assert "canary" not in str(problems)


def test_where_people_have_passwords_there_are_no_rules() -> None:
    found = config({"password": "file"})
    assert logins.told(found) is None
    assert logins.file(found, site(), "hub") == {}


def test_another_list_of_names_changes_nothing_that_the_hub_reads_at_start() -> None:
    one, other = (
        config({"github": {"client_id": "a"}, "allow": {"users": [name]}}, "local") for name in ("ada", "ben")
    )
    layout = site().layout
    assert hub_settings(one, layout) == hub_settings(other, layout)
    passwords = config({"signup": "approval", "allow": {"users": ["ada"]}}, "local")
    assert hub_settings(passwords, layout)["allow"] == ["ada"]
