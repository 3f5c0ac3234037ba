"""Logins at a provider: what is asked for, who is let in, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubfleet.config import Config, explain, load
from hubfleet.config.login import PROVIDERS, read_list
from hubfleet.config.secrets import Secrets
from hubfleet.config.vouching import Endpoints
from hubfleet.errors import ConfigError

CLIENTS = {
    "github": "client_id: a",
    "google": "client_id: a, groups: {administrator: admin@example.edu}",
    "cilogon": "client_id: a, identity_providers: {google: {username_claim: email}}",
    "globus": "client_id: a",
    "oidc": "client_id: a, issuer: https://login.example.edu",
    "tapis": "client_id: a, tenant: designsafe",
    "lti": "issuer: https://a.example, client_id: a, authorize_url: https://a.example/x, jwks_url: https://a.example/y",
    "ldap": "url: ldaps://ldap.example.edu, base: 'ou=people,dc=edu', bind: cn=hub, groups: ou=groups",
}


def loaded(folder: Path, login: str) -> Config:
    file = folder / "hubfleet.yaml"
    file.write_text(f"hub: physics101\nlogin:\n{login}")
    return load(file, environ={})


@pytest.mark.parametrize("kind", PROVIDERS)
def test_what_is_dumped_is_the_same_when_it_is_read_again(kind: str, tmp_path: Path) -> None:
    config = loaded(tmp_path, f"  {kind}: {{{CLIENTS[kind]}}}\n  allow: {{everybody: true}}\n")
    assert Config.from_dump(config.dump()) == config
    assert config.login.kind == kind
    secrets = {"ldap": ["ldap_password"], "lti": [], "google": ["client_secret", "google_key"]}.get(
        kind, ["client_secret"]
    )
    assert config.login.secrets == dict.fromkeys(secrets, f"login.{kind}")


def test_nobody_runs_the_hub_for_being_called_admin_at_a_provider(tmp_path: Path) -> None:
    allow = "  allow: {everybody: true}\n"
    assert loaded(tmp_path, f"  github: {{client_id: a}}\n{allow}").login.admins == ()
    assert loaded(tmp_path, f"  github: {{client_id: a}}\n  admins: [ProfX]\n{allow}").login.admins == ("profx",)
    assert loaded(tmp_path, "  password: file\n").login.admins == ("admin",)


@pytest.mark.parametrize(
    ("login", "endpoints"),
    [
        (
            "github: {client_id: a}",
            Endpoints(
                "https://github.com/login/oauth/authorize",
                "https://github.com/login/oauth/access_token",
                "https://api.github.com/user",
            ),
        ),
        (
            "github: {client_id: a, host: github.example.edu}",
            Endpoints(
                "https://github.example.edu/login/oauth/authorize",
                "https://github.example.edu/login/oauth/access_token",
                "https://github.example.edu/api/v3/user",
            ),
        ),
        (
            "tapis: {client_id: a, tenant: designsafe, version: 2}",
            Endpoints(
                "https://agave.designsafe-ci.org/oauth2/authorize",
                "https://agave.designsafe-ci.org/oauth2/token",
                "https://agave.designsafe-ci.org/profiles/v2/me",
            ),
        ),
        (
            "tapis: {client_id: a, tenant: designsafe}",
            Endpoints(
                "https://designsafe.tapis.io/v3/oauth2/authorize",
                "https://designsafe.tapis.io/v3/oauth2/tokens",
                "https://designsafe.tapis.io/v3/oauth2/userinfo",
            ),
        ),
        (
            "tapis: {client_id: a, tenant: ours, version: 2, base_url: https://agave.example.edu/}",
            Endpoints(
                "https://agave.example.edu/oauth2/authorize",
                "https://agave.example.edu/oauth2/token",
                "https://agave.example.edu/profiles/v2/me",
            ),
        ),
    ],
)
def test_addresses_of_a_provider(login: str, endpoints: Endpoints, tmp_path: Path) -> None:
    provider = loaded(tmp_path, f"  {login}\n  allow: {{everybody: true}}\n").login.provider
    assert provider is not None
    assert provider.endpoints() == endpoints


def test_a_list_of_names(tmp_path: Path) -> None:
    (tmp_path / "people.txt").write_text("# the class\nAda\n\nben   # came late\nada\n")
    config = loaded(tmp_path, "  github: {client_id: a}\n  allow: {file: people.txt}\n")
    assert read_list(config.login.list_file) == ("ada", "ben")


def test_mistakes_in_a_list_have_its_lines(tmp_path: Path) -> None:
    (tmp_path / "people.txt").write_text("ada\n../x\nben\n")
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "  github: {client_id: a}\n  allow: {file: people.txt}\n")
    assert str(caught.value) == (
        "people.txt:2: invalid user name '../x'. Try: a login name such as profx, without `/` or edge spaces"
    )


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "people.txt").write_bytes(b"ad\xff\n")
    with pytest.raises(ConfigError, match=r"^people.txt: cannot be read: it is not text in UTF-8\. Try: ls -l "):
        loaded(tmp_path, "  github: {client_id: a}\n  allow: {file: people.txt}\n")


RULES = """\
  github: {client_id: a}
  admins: [profx]
  allow:
    users: [ada]
    teams: [edu/physics]
    organizations: [edu]
    file: people.txt
  block: [mallory]
"""


@pytest.mark.parametrize(
    ("name", "value", "source"),
    [
        ("mallory", "no, blocked", "hubfleet.yaml:10 (login.block)"),
        ("profx", "yes, runs the hub", "hubfleet.yaml:4 (login.admins)"),
        ("ada", "yes", "hubfleet.yaml:6 (login.allow.users)"),
        ("ben", "yes", "hubfleet.yaml:9 (login.allow.file)"),
        ("cem", "if github tells of one of these teams or organizations", "hubfleet.yaml:7 (login.allow.teams)"),
    ],
)
def test_why_somebody_may_log_in(name: str, value: str, source: str, tmp_path: Path) -> None:
    (tmp_path / "people.txt").write_text("ben\n")
    config = loaded(tmp_path, RULES)
    row = next(
        row for row in explain(config, name, listed=read_list(config.login.list_file)) if row.path == "may log in"
    )
    assert (row.value, row.source) == (value, source)


def test_where_people_have_passwords_nothing_is_said_of_it(tmp_path: Path) -> None:
    rows = explain(loaded(tmp_path, "  password: file\n"), "ada")
    assert all(row.path != "may log in" for row in rows)


def test_the_client_s_secret_is_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "hubfleet.secrets.yaml"
    file.write_text("client_secret: canary\noauth_password: '!command echo other'\n")
    file.chmod(0o600)
    secrets = Secrets(file, environ={})
    secrets.check()
    found = {name: secrets.get(name) for name in ("client_secret", "oauth_password")}
    assert {name: secret.reveal() for name, secret in found.items() if secret} == {
        "client_secret": "canary",
        "oauth_password": "other",
    }
    assert "canary" not in repr(found)


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        ("github", "teams: [edu/physics], organizations: [edu]"),
        ("google", "groups: [lab@example.edu], domains: [example.edu]"),
        ("cilogon", "domains: [example.edu]"),
        ("globus", "groups: [4f1c0a9e], domains: [example.edu]"),
        ("oidc", "groups: [physics], domains: [example.edu]"),
        ("tapis", "users: [ada]"),
        ("ldap", "groups: [physics]"),
        ("lti", "groups: [physics101], domains: [example.edu]"),
    ],
)
def test_rules_that_a_provider_answers(kind: str, rules: str, tmp_path: Path) -> None:
    more = ", groups_claim: groups" if kind == "oidc" else ""
    config = loaded(tmp_path, f"  {kind}: {{{CLIENTS[kind]}{more}}}\n  allow: {{{rules}}}\n")
    assert config.login.allow
    assert len(config.login.allow.rules) == rules.count(":")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", None),
        (
            ", groups: {administrator: a@example.edu}",
            {
                "administrator": "a@example.edu",
                "groups": "https://admin.googleapis.com/admin/directory/v1/groups",
                "token": "",
            },
        ),
        (
            ", groups: {administrator: a@example.edu}, host: accounts.example.edu",
            {
                "administrator": "a@example.edu",
                "groups": "https://accounts.example.edu/admin/directory/v1/groups",
                "token": "https://accounts.example.edu/token",
            },
        ),
    ],
)
def test_where_google_is_asked_for_groups(more: str, told: dict[str, str] | None, tmp_path: Path) -> None:
    login = loaded(tmp_path, f"  google: {{client_id: a{more}}}\n  allow: {{everybody: true}}\n").login
    assert login.provider
    assert login.provider.told()["workspace"] == told
    assert list(login.secrets) == ["client_secret", *(["google_key"] if told else [])]
