"""What `hubfleet check` and `up` find out of a provider before anything is changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import RunningHub
from visitors import callback, configure

from providers import CLIENT, SECRET, Agave, CILogon, GitHub, Globus, Google, OpenId, Provider, Tapis, running

ALLOW = "  allow: {everybody: true}\n"


@pytest.fixture
def hub(base: Path, tmp_path: Path) -> RunningHub:
    """One that nobody starts."""
    return RunningHub(base, tmp_path)


def check(hub: RunningHub, code: int = 0) -> str:
    done = hub.run("check", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "canary" not in done.stdout + done.stderr
    return done.stdout


def github(provider: Provider, client: str = CLIENT) -> str:
    return f"  github: {{client_id: {client}, host: '{provider.url}'}}\n{ALLOW}"


KINDS: dict[str, tuple[Callable[[], Provider], str]] = {
    "GitHub": (GitHub, "github: {{client_id: {client}, host: '{url}'}}"),
    "Google": (Google, "google: {{client_id: {client}, host: '{url}'}}"),
    "CILogon": (
        CILogon,
        "cilogon: {{client_id: {client}, host: '{url}', identity_providers: {{google: {{username_claim: email}}}}}}",
    ),
    "Globus": (Globus, "globus: {{client_id: {client}, host: '{url}'}}"),
    "Agave": (Agave, "tapis: {{client_id: {client}, tenant: ours, version: 2, base_url: '{url}'}}"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_provider_that_knows_the_hub(kind: str, hub: RunningHub) -> None:
    make, login = KINDS[kind]
    with running(make()) as provider:
        provider.callback = callback(hub)
        provider.who = "ada"
        configure(hub, f"  {login.format(client=CLIENT, url=provider.url)}\n{ALLOW}", SECRET)
        assert f"answers, and knows this hub; people come back to {callback(hub)}" in check(hub)


@pytest.mark.parametrize("kind", KINDS)
def test_a_provider_that_does_not_know_the_client_or_its_secret(kind: str, hub: RunningHub) -> None:
    make, login = KINDS[kind]
    with running(make()) as provider:
        provider.callback = callback(hub)
        for client, secret in ((CLIENT, "canary-wrong"), ("another", SECRET)):
            configure(hub, f"  {login.format(client=client, url=provider.url)}\n{ALLOW}", secret)
            said = check(hub, 3)
            assert "does not accept this hub's client_id with its client_secret." in said
            assert "PROBLEM  hubfleet.yaml:4: login." in said


@pytest.mark.parametrize("kind", KINDS)
def test_a_provider_that_has_another_callback(kind: str, hub: RunningHub) -> None:
    make, login = KINDS[kind]
    with running(make()) as provider:
        provider.callback, provider.who = "http://127.0.0.1:1/hub/oauth_callback", "ada"
        configure(hub, f"  {login.format(client=CLIENT, url=provider.url)}\n{ALLOW}", SECRET)
        said = check(hub, 3)
        assert (
            f"does not send people back to {callback(hub)}. Try: register exactly this address as callback there"
            in said
        )


def test_a_callback_of_another_address_is_told(hub: RunningHub) -> None:
    with running(GitHub()) as provider:
        provider.callback, provider.who = "https://front.example/physics/hub/oauth_callback", "ada"
        login = f"  github: {{client_id: {CLIENT}, host: '{provider.url}', callback: '{provider.callback}'}}\n{ALLOW}"
        configure(hub, login, SECRET)
        said = check(hub)
        assert f"login.github.callback: people come back to {provider.callback}, and this hub is at {hub.url}." in said
        configure(hub, github(provider), SECRET)
        assert "people come back to https://front" not in check(hub, 3)


def test_a_tenant_that_does_not_say_whether_it_knows_the_hub(hub: RunningHub) -> None:
    with running(Tapis()) as tenant:
        tenant.callback, tenant.who = callback(hub), "ada"
        configure(hub, f"  tapis: {{client_id: {CLIENT}, tenant: ours, base_url: '{tenant.url}'}}\n{ALLOW}", SECRET)
        assert "answers, and does not say before a log-in whether it knows this hub" in check(hub)
        tenant.secret = "other"
        assert "does not accept this hub's client_id with its client_secret" in check(hub, 3)


def test_a_provider_of_openid_connect(hub: RunningHub) -> None:
    with running(OpenId()) as provider:
        client, secret = provider.register(callback(hub))

        def login(issuer: str, client: str = client) -> str:
            return f"  oidc: {{issuer: '{issuer}', client_id: {client}}}\n{ALLOW}"

        configure(hub, login(provider.url), secret)
        assert f"127.0.0.1 answers, and knows this hub; people come back to {callback(hub)}" in check(hub)
        configure(hub, login(provider.url), "canary-wrong")
        assert "127.0.0.1 does not accept this hub's client_id with its client_secret" in check(hub, 3)
        configure(hub, login(provider.url, "another"), secret)
        assert "127.0.0.1 does not accept this hub's client_id with its client_secret" in check(hub, 3)
        configure(hub, login(f"{provider.url}/realms/edu"), secret)
        said = check(hub, 3)
        assert "/realms/edu/.well-known/openid-configuration is not the document of this issuer (status 404)." in said
        other = provider.register("http://127.0.0.1:1/hub/oauth_callback")
        configure(hub, login(provider.url, other[0]), other[1])
        assert f"does not send people back to {callback(hub)}" in check(hub, 3)


def test_the_document_of_another_issuer_is_refused(hub: RunningHub) -> None:
    """Otherwise one could be had by it to show its people's codes to another."""
    with running(GitHub()) as provider:
        names = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
        told = {"issuer": "https://evil.example", **{name: f"{provider.url}/{name}" for name in names}}
        provider.instead = (200, {"Content-Type": "application/json"}, json.dumps(told).encode())
        configure(hub, f"  oidc: {{issuer: '{provider.url}', client_id: a}}\n{ALLOW}", SECRET)
        assert "is not the document of this issuer (it is the one of https://evil.example)" in check(hub, 3)


def test_a_provider_that_is_away_stands_in_nobody_s_way(hub: RunningHub) -> None:
    with running(GitHub()) as provider:
        configure(hub, github(provider), SECRET)
    assert "note     hubfleet.yaml:4: login.github: GitHub does not answer (" in check(hub)


def test_a_provider_that_is_not_well_stands_in_nobody_s_way(hub: RunningHub) -> None:
    with running(GitHub()) as provider:
        provider.instead = (503, {"Content-Type": "text/html"}, b"<h1>Unicorn!</h1>")
        configure(hub, github(provider), SECRET)
        assert "note     hubfleet.yaml:4: login.github: GitHub does not answer (" in check(hub)


def test_whether_google_tells_this_hub_of_groups(hub: RunningHub) -> None:
    with running(Google()) as google:
        google.callback, google.who = callback(hub), "ada@example.edu"
        inner = f"client_id: {CLIENT}, host: '{google.url}', groups: {{administrator: {google.administrator}}}"
        configure(hub, f"  google: {{{inner}}}\n  allow: {{groups: [lab@example.edu]}}\n", SECRET)
        said = check(hub, 3)
        assert "login.google needs the secret google_key. Try: write `google_key: !command cat key.json` into" in said
        with (hub.folder / "hubfleet.secrets.yaml").open("a") as file:
            file.write("google_key: !command cat key.json\n")
        key = hub.folder / "key.json"
        key.write_text(google.key_file())
        said = check(hub)
        assert f"Google tells {google.account} of people's groups, in the name of {google.administrator}" in said
        assert "Google answers, and knows this hub" in said
        google.enabled = False
        at = "PROBLEM  hubfleet.yaml:4: login.google.groups"
        assert f"{at}: the Admin SDK API is not enabled in the service account's project. Try: con" in check(hub, 3)
        google.delegated = False
        assert f"{at}: the workspace does not let the service account {google.account} ask" in check(hub, 3)
        google.delegated, google.administrator = True, "root@example.edu"
        assert f"{at}: Google knows no administrator admin@example.edu. Try: login: " in check(hub, 3)
        key.write_text(Google().key_file())
        assert f"{at}: Google does not accept the key of {google.account} (any more)." in check(hub, 3)
        key.write_text(google.key_file(private_key="canary"))
        assert "login.google: the secret google_key has a private_key that is not an RSA key" in check(hub, 3)


def test_a_secret_that_nobody_wrote_down(hub: RunningHub) -> None:
    with running(GitHub()) as provider:
        hub.write(f"login:\n{github(provider)}")
        said = check(hub, 3)
    assert "hubfleet.yaml:4: login.github needs the secret client_secret. Try: write `client_secret: ...` into" in said


def test_a_tenant_that_the_hub_is_no_client_of_yet(hub: RunningHub) -> None:
    configure(hub, f"  tapis: {{tenant: designsafe, version: 2}}\n{ALLOW}", SECRET)
    assert "hubfleet.yaml:4: login.tapis has no client_id. Try: hubfleet oauth register, which gets one" in check(
        hub, 3
    )


def test_up_changes_nothing_where_the_provider_does_not_know_the_hub(hub: RunningHub) -> None:
    with running(GitHub()) as provider:
        configure(hub, github(provider), "canary-wrong")
        done = hub.run("up", "--yes", "--detach", check=False)
    assert done.returncode == 3
    assert "GitHub does not accept this hub's client_id with its client_secret" in done.stderr
    assert "Nothing was changed" in done.stderr
    assert not hub.state.exists()
