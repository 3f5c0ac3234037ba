"""Logins at GitHub, Google, CILogon, Globus and Tapis, which are servers of this machine that speak as these do."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from harness import RunningHub
from visitors import Visitor, callback, configure, log_of, words

from providers import Agave, CILogon, GitHub, Globus, Google, Provider, Tapis, running

IDP, OTHER_IDP = "https://idp.example.edu/shibboleth", "https://idp.other.example/shibboleth"


@pytest.fixture
def hub(one_hub: RunningHub, hub_logs: list[Path]) -> RunningHub:
    hub_logs.append(one_hub.logs)
    return one_hub


@pytest.fixture(autouse=True)
def no_secret_is_told(one_hub: RunningHub) -> Iterator[None]:
    """After each test: no secret of the provider is in a log, in a plan, or unencrypted in the hub's files."""
    yield
    hub = one_hub
    logs = "".join(log.read_text(errors="replace") for log in hub.logs.rglob("*.log*"))
    assert "canary" not in logs
    assert "canary" not in hub.run("plan", "--full").stdout
    for file in (hub.state / "hub").iterdir():
        if file.is_file() and file.name != "hub-secrets.json":
            assert b"canary" not in file.read_bytes(), file.name


def deploy(hub: RunningHub, provider: Provider, login: str) -> None:
    provider.callback = callback(hub)
    configure(hub, login, provider.secret)
    hub.up()


def test_github(hub: RunningHub) -> None:
    with running(GitHub()) as github:
        github.add("ada", 1, "edu/physics", "edu/chemistry", "Edu-2/Staff")
        github.add("Ben", 2, "other/x", "other/y", "org-2/z")
        github.add("cem", 3, "edu/chemistry")
        login = f"  github: {{client_id: {github.client}, host: '{github.url}'}}\n"
        deploy(hub, github, f"{login}  allow: {{teams: [edu-2/staff], organizations: [ORG-2]}}\n")
        ada = Visitor(hub, "ada")
        assert "Log in with GitHub" in words(ada.session.get(f"{hub.url}/hub/login"))
        assert parse_qs(urlsplit(ada.go()).query)["scope"] == ["read:org"]
        assert ada.enter(github).status_code == 302  # the team is on the second page of the list
        assert Visitor(hub, "ben").enter(github, "Ben").status_code == 302  # the organization too
        refused = Visitor(hub, "cem").enter(github)
        assert refused.status_code == 403
        assert "cem is not on this hub's list, nor in a group that is" in words(refused)

        # A login that somebody gave up, and another took.
        github.add("ada", 99, "edu-2/staff")
        taken = Visitor(hub, "ada").enter(github)
        assert taken.status_code == 403
        assert "The name ada belongs to another account of GitHub here" in words(taken)

        github.client = "another"
        assert Visitor(hub, "ada").session.get(Visitor(hub, "ada").go()).status_code == 404
        github.client, github.callback = "hub-client", "http://127.0.0.1:1/hub/oauth_callback"
        ben = Visitor(hub, "ben")
        told = urlsplit(ben.agree(ben.go(), github, "Ben"))
        wrong = ben.come_back(f"{hub.url}{told.path}?{told.query}")
        assert wrong.status_code == 500
        assert f"the callback that is registered there has to be {callback(hub)}" in words(wrong)
        github.callback = callback(hub)
        github.secret = "other"
        answer = Visitor(hub, "ben").enter(github, "Ben")
        assert answer.status_code == 500
        assert "GitHub does not accept this hub's own id and secret" in words(answer)
        assert "incorrect_client_credentials" in log_of(hub)


def test_github_is_asked_for_no_more_than_the_rules_need(hub: RunningHub) -> None:
    with running(GitHub()) as github:
        github.add("dan", 4, "edu/physics")
        login = f"  github: {{client_id: {github.client}, host: '{github.url}'}}\n"
        deploy(hub, github, f"{login}  allow: {{users: [dan]}}\n")
        dan = Visitor(hub, "dan")
        assert "scope" not in parse_qs(urlsplit(dan.go()).query)
        assert dan.enter(github).status_code == 302
        assert not [asked for asked in github.asked if "/orgs" in asked or "/teams" in asked]


def test_google(hub: RunningHub) -> None:
    with running(Google()) as google:
        google.add("ada@example.edu", "1", hd="example.edu")
        google.add("ben@other.example", "2", hd="other.example")
        google.add("cem@example.edu", "3")  # an address of the domain, and no account of its workspace
        google.add("dan@example.edu", "4", hd="example.edu", verified=False)
        google.add("eve@gmail.example", "5")
        login = f"  google: {{client_id: {google.client}, host: '{google.url}', strip_domain: example.edu}}\n"
        deploy(hub, google, f"{login}  allow: {{domains: [example.edu], users: [eve@gmail.example]}}\n")
        ada = Visitor(hub, "ada")
        assert "Log in with Google" in words(ada.session.get(f"{hub.url}/hub/login"))
        assert ada.enter(google, "ada@example.edu").status_code == 302
        assert ada.api("GET", "/user").json()["name"] == "ada"
        assert Visitor(hub, "eve@gmail.example").enter(google, "eve@gmail.example").status_code == 302
        for email in ("ben@other.example", "cem@example.edu"):
            assert Visitor(hub, email).enter(google, email).status_code == 403
        unverified = Visitor(hub, "dan").enter(google, "dan@example.edu")
        assert unverified.status_code == 403
        assert "Google has not verified your e-mail address" in words(unverified)


def test_cilogon(hub: RunningHub) -> None:
    with running(CILogon()) as cilogon:
        cilogon.add("u1", IDP, eppn="ada@example.edu", email="ada.l@mail.example")
        cilogon.add("u2", OTHER_IDP, eppn="ada@example.edu")
        cilogon.add("u3", "http://google.com/accounts/o8/id", email="ben@gmail.example")
        cilogon.add("u4", IDP, email="cem@example.edu")
        cilogon.add("u5", IDP, eppn="dan@lab.example.edu")
        deploy(
            hub,
            cilogon,
            f"  cilogon:\n    client_id: {cilogon.client}\n    host: '{cilogon.url}'\n    identity_providers:\n"
            f"      {IDP}: {{username_claim: eppn, strip_domain: example.edu}}\n"
            "      google: {username_claim: email}\n"
            "  allow: {domains: [example.edu], users: [ben@gmail.example]}\n",
        )
        ada = Visitor(hub, "ada")
        assert "Log in with CILogon" in words(ada.session.get(f"{hub.url}/hub/login"))
        assert ada.enter(cilogon, "u1").status_code == 302
        assert cilogon.offered[-1].split(",") == [IDP, "http://google.com/accounts/o8/id"]
        assert Visitor(hub, "ben@gmail.example").enter(cilogon, "u3").status_code == 302
        elsewhere = Visitor(hub, "ada").enter(cilogon, "u2")
        assert elsewhere.status_code == 403
        assert "Accounts of the institution that you chose may not be used on this hub." in words(elsewhere)
        assert Visitor(hub, "cem").enter(cilogon, "u4").status_code == 500  # it tells no eppn
        assert Visitor(hub, "dan").enter(cilogon, "u5").status_code == 403  # a domain below is another


def test_globus(hub: RunningHub) -> None:
    with running(Globus()) as globus:
        globus.add("u1", "ada@example.edu", "group-1")
        globus.add("u2", "ben@other.example", "group-1")
        globus.add("u3", "cem@example.edu", "group-2")
        login = f"  globus: {{client_id: {globus.client}, host: '{globus.url}'}}\n"
        deploy(hub, globus, f"{login}  allow: {{groups: [GROUP-1]}}\n")
        ada = Visitor(hub, "ada@example.edu")
        assert "Log in with Globus" in words(ada.session.get(f"{hub.url}/hub/login"))
        assert "view_my_groups" in parse_qs(urlsplit(ada.go()).query)["scope"][0]
        assert ada.enter(globus, "u1").status_code == 302
        assert ada.start()[-1].get("ready")
        kernel = ada.kernel()
        assert "GLOBUS" not in kernel.run("import os; print(*os.environ)")
        kernel.close()
        ada.stop()
        assert Visitor(hub, "ben@other.example").enter(globus, "u2").status_code == 302
        assert Visitor(hub, "cem@example.edu").enter(globus, "u3").status_code == 403

        login = f"  globus: {{client_id: {globus.client}, host: '{globus.url}', identity_provider: example.edu}}\n"
        deploy(hub, globus, f"{login}  allow: {{everybody: true}}\n")
        cem = Visitor(hub, "cem")
        assert "view_my_groups" not in cem.go()
        assert cem.enter(globus, "u3").status_code == 302
        elsewhere = Visitor(hub, "ben").enter(globus, "u2")
        assert elsewhere.status_code == 403
        assert "Accounts of the institution that you chose may not be used" in words(elsewhere)


@pytest.mark.parametrize(("kind", "version"), [(Agave, 2), (Tapis, 3)])
def test_tapis(hub: RunningHub, kind: type[Agave], version: int) -> None:
    with running(kind()) as tenant:
        inner = f"tenant: designsafe, version: {version}, base_url: '{tenant.url}', client_id: {tenant.client}"
        deploy(hub, tenant, f"  tapis: {{{inner}}}\n  allow: {{users: [ada, ben]}}\n  recheck: 1s\n")
        ada = Visitor(hub, "ada")
        assert "Log in with your designsafe account" in words(ada.session.get(f"{hub.url}/hub/login"))
        assert ada.enter(tenant).status_code == 302
        assert ada.inside
        refused = Visitor(hub, "mia").enter(tenant)
        assert refused.status_code == 403
        assert "mia is not on this hub's list" in words(refused)

        tenant.secret = "other"
        wrong = Visitor(hub, "ben").enter(tenant)
        assert wrong.status_code == 500
        assert "your designsafe account does not accept this hub's own id and secret" in words(wrong)
        tenant.secret = "canary-client-secret"
        tenant.instead = (200, {"Content-Type": "text/html"}, b"<h1>Down for maintenance</h1>")
        assert ada.inside
        ben = Visitor(hub, "ben")
        code = base64.urlsafe_b64decode(parse_qs(urlsplit(ben.go()).query)["state"][0])
        assert json.loads(code)["state_id"]
        state = parse_qs(urlsplit(ben.go()).query)["state"][0]
        down = ben.come_back(f"{callback(hub)}?code=x&state={state}")
        assert down.status_code == 503
        assert "does not answer at the moment" in words(down)
        tenant.instead = None
        assert ben.enter(tenant).status_code == 302


def test_who_was_here_by_another_provider_logs_in_anew(hub: RunningHub) -> None:
    """And gets the files of the name: the hub's operator chose that the new provider vouches for names."""
    with running(GitHub()) as github, running(Agave()) as tenant:
        github.add("zoe", 7)
        deploy(
            hub, github, f"  github: {{client_id: {github.client}, host: '{github.url}'}}\n  allow: {{users: [zoe]}}\n"
        )
        zoe = Visitor(hub, "zoe")
        assert zoe.enter(github).status_code == 302
        inner = f"tenant: designsafe, version: 2, base_url: '{tenant.url}', client_id: {tenant.client}"
        deploy(hub, tenant, f"  tapis: {{{inner}}}\n  allow: {{users: [zoe]}}\n")
        assert not zoe.inside
        assert zoe.enter(tenant).status_code == 302
        assert zoe.inside
