"""The hub is registered as a client of its tenant, by a service account."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import CommandLines, RunningHub
from visitors import callback

from command import run
from hubfleet.deployer.load import Selection, load
from hubfleet.units import Secret
from providers import Agave, running
from trios import SMALL_HOSTS, trio

SECRETS = "oauth_password: canary-service-password\n"


@pytest.fixture
def tenant() -> Iterator[Agave]:
    with running(Agave()) as tenant:
        yield tenant


@pytest.fixture
def hub(base: Path, tmp_path: Path, tenant: Agave) -> RunningHub:
    """One that nobody starts."""
    hub = RunningHub(base, tmp_path)
    hub.write(
        "# who may\nlogin:\n"
        f"  tapis: {{tenant: ours, version: 2, base_url: '{tenant.url}', account: hub-service}}   # our own\n"
        "  allow: {everybody: true}  # for now\n"
    )
    keep(hub, SECRETS)
    return hub


def keep(hub: RunningHub, secrets: str) -> None:
    file = hub.folder / "hubfleet.secrets.yaml"
    file.write_text(secrets)
    file.chmod(0o600)


def kept(hub: RunningHub) -> str:
    return (hub.folder / "hubfleet.secrets.yaml").read_text()


def written(hub: RunningHub) -> str:
    return (hub.folder / "hubfleet.yaml").read_text()


def register(hub: RunningHub, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = hub.run("oauth", "register", *arguments, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "canary" not in done.stdout + done.stderr
    return done


def test_id_and_secret_are_written_down_and_the_tenant_knows_the_hub(hub: RunningHub, tenant: Agave) -> None:
    before = written(hub)
    with CommandLines() as watch:
        register(hub)
    made = tenant.clients[f"hubfleet-{hub.name}"]
    assert made["callbackUrl"] == callback(hub)
    assert f"client_id: {made['consumerKey']}" in written(hub)
    assert kept(hub) == f"{SECRETS}client_secret: {made['consumerSecret']}\n"
    assert (hub.folder / "hubfleet.secrets.yaml").stat().st_mode & 0o777 == 0o600
    for comment in ("# who may", "# our own", "# for now"):
        assert comment in written(hub)
    assert len(written(hub).splitlines()) == len(before.splitlines())
    assert not [line for line in watch.seen if "canary" in line]
    tenant.who = "ada"
    assert "answers, and knows this hub" in hub.run("check").stdout


def test_a_second_time_nothing_changes(hub: RunningHub, tenant: Agave) -> None:
    register(hub)
    clients, config, secrets = dict(tenant.clients), written(hub), kept(hub)
    assert "is registered already, with the callback" in register(hub).stdout
    assert (tenant.clients, written(hub), kept(hub)) == (clients, config, secrets)


def test_a_command_that_was_killed_is_gone_on_with(hub: RunningHub, tenant: Agave) -> None:
    """The secret is written first, then the id; before both, the tenant has a client whose secret nobody knows."""
    config = written(hub)
    register(hub)
    complete, secrets = written(hub), kept(hub)
    (hub.folder / "hubfleet.yaml").write_text(config)
    register(hub)
    assert (written(hub), kept(hub)) == (complete, secrets)
    assert len(tenant.clients) == 1

    (hub.folder / "hubfleet.yaml").write_text(config)
    keep(hub, SECRETS)
    said = register(hub, code=2).stderr
    assert "its secret is not told again. Nothing was changed." in said
    assert "make it anew: --replace" in said
    register(hub, "--replace")
    [made] = tenant.clients.values()
    assert f"client_id: {made['consumerKey']}" in written(hub)
    assert f"client_secret: {made['consumerSecret']}" in kept(hub)


def test_another_callback_is_told_and_changed_when_it_is_asked_for(hub: RunningHub, tenant: Agave) -> None:
    register(hub)
    moved = written(hub).replace(
        "account: hub-service", "account: hub-service, callback: 'https://h.example/hub/oauth_callback'"
    )
    (hub.folder / "hubfleet.yaml").write_text(moved)
    said = register(hub, code=2).stderr
    assert f"with another callback, {callback(hub)}" in said
    register(hub, "--replace")
    assert next(iter(tenant.clients.values()))["callbackUrl"] == "https://h.example/hub/oauth_callback"


def test_a_variable_that_would_win_over_the_secret(
    hub: RunningHub, tenant: Agave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBFLEET_SECRET_CLIENT_SECRET", "canary-old")
    said = register(hub, "--replace", code=2).stderr
    assert "the variable HUBFLEET_SECRET_CLIENT_SECRET wins. Nothing was changed. Try: remove the variable" in said
    assert tenant.clients == {}
    assert "canary" not in said


def test_an_account_that_the_tenant_does_not_accept(hub: RunningHub, tenant: Agave) -> None:
    keep(hub, "oauth_password: canary-wrong\n")
    said = register(hub, code=3).stderr
    assert "does not accept the account hub-service with its password. Nothing was changed." in said
    assert tenant.clients == {}
    assert kept(hub) == "oauth_password: canary-wrong\n"


def test_a_tenant_that_refuses_or_is_away(hub: RunningHub, tenant: Agave) -> None:
    tenant.instead = tenant.envelope({}, "Quota\x1b[31m exceeded", 400)
    assert "refuses: Quota [31m exceeded" in register(hub, code=4).stderr
    tenant.instead = (502, {"Content-Type": "text/html"}, b"<h1>Bad gateway</h1>")
    assert "does not answer (" in register(hub, code=4).stderr
    tenant.stop()
    assert "does not answer (" in register(hub, code=4).stderr
    assert kept(hub) == SECRETS


@pytest.mark.parametrize(
    ("login", "secrets", "said"),
    [
        ("password: file", SECRETS, "hubfleet.yaml:3: the hub is registered at a Tapis tenant only."),
        (
            "tapis: {tenant: designsafe, account: a}, allow: {everybody: true}",
            SECRETS,
            "hubfleet.yaml:3: login.tapis: clients of version 3 are registered by hand.",
        ),
        (
            "tapis: {tenant: designsafe, version: 2}, allow: {everybody: true}",
            SECRETS,
            "hubfleet.yaml:3: login.tapis.account: who registers it is not written.",
        ),
        (
            "tapis: {tenant: designsafe, version: 2, account: a}, allow: {everybody: true}",
            "class_password: x\n",
            "hubfleet.yaml:3: login.tapis.account needs the secret oauth_password.",
        ),
    ],
)
def test_what_has_to_be_written_first(login: str, secrets: str, said: str, hub: RunningHub) -> None:
    hub.write(f"login: {{{login}}}\n")
    keep(hub, secrets)
    assert said in register(hub, code=2).stderr


def test_one_of_several_hubs(hub: RunningHub, tenant: Agave) -> None:
    (hub.folder / "hubfleet.yaml").write_text(
        f"defaults: {{login: {{tapis: {{tenant: ours, version: 2, base_url: '{tenant.url}', account: hub-service}}, "
        "allow: {everybody: true}}}\n"
        "hubs:\n  prod: {}\n  prod.physics:\n    listen: {port: 8123}\n"
    )
    done = hub.run("-H", "prod.physics", "oauth", "register")
    assert "Registered hubfleet-prod-physics" in done.stdout
    made = tenant.clients["hubfleet-prod-physics"]
    assert made["callbackUrl"] == "http://127.0.0.1:8123/hub/oauth_callback"
    assert written(hub).endswith(
        f"    listen: {{port: 8123}}\n    login:\n      tapis:\n        client_id: {made['consumerKey']}\n"
    )
    assert made["consumerSecret"] in kept(hub).partition("hubs:")[2].partition("prod.physics:")[2]
    again = hub.run("-H", "prod.physics", "oauth", "register")
    assert "is registered already" in again.stdout


# -- files of Deployer, which hubfleet does not write ------------------------------------------------------------------

STANZAS = ("jupyterhub.prod.designsafe", "jupyterhub.staging.designsafe")


@pytest.fixture
def folder(tmp_path: Path, tenant: Agave) -> Path:
    """Two hubs that are no clients yet, each with a host of its own."""
    configs = (
        "hubfleet: {login: {tapis: {account: hub-service}}}\n"
        f"jupyterhub:\n    jupyterhub_tenant_base_url: {tenant.url}\n"
    )
    configs += "".join(f"{stanza}:\n    jupyterhub_host: {stanza}.example.edu\n" for stanza in STANZAS)
    hosts = "".join(SMALL_HOSTS.replace(STANZAS[0], stanza) for stanza in STANZAS)
    made = trio(tmp_path / "ops", configs, hosts, passwords="mail_password: canary-mail\n")
    secrets = made / "ops.secrets.yaml"
    secrets.touch(0o600)
    secrets.write_text(SECRETS)
    return made


def registered(folder: Path, stanza: str, *arguments: str, code: int = 0) -> str:
    done = run(folder, "-c", ".", "-H", stanza, "oauth", "register", *arguments)
    assert done.code == code, done.out + done.err
    assert "canary" not in done.out + done.err
    return done.err if code else done.out


def enter(folder: Path, said: str, stanza: str) -> None:
    """Write the line into the file that it is for, as is said."""
    file, key, line = re.findall(r"Write this line into (\S+), below `(\S+):`\n    (.*)\n", said)[0]
    assert (file, key) == ("ops.configs", stanza)
    configs = folder / file
    configs.write_text(configs.read_text().replace(f"{key}:\n", f"{key}:\n    {line}\n"))


def test_hubs_of_deployers_files(folder: Path, tenant: Agave) -> None:
    before = {path.name: path.read_text() for path in folder.iterdir() if path.suffix != ".yaml"}
    for stanza in STANZAS:
        said = registered(folder, stanza)
        assert f"Then: hubfleet -c . -H {stanza} up" in said
        assert registered(folder, stanza).partition("Write this line")[2] == said.partition("Write this line")[2]
    assert {path.name: path.read_text() for path in folder.iterdir() if path.suffix != ".yaml"} == before
    for stanza in STANZAS:
        enter(folder, registered(folder, stanza), stanza)
        assert "is registered already, with the callback" in registered(folder, stanza)
    assert len(tenant.clients) == len(STANZAS)
    for stanza in STANZAS:
        made = tenant.clients[f"hubfleet-{stanza.replace('.', '-')}"]
        assert made["callbackUrl"] == f"https://{stanza}.example.edu/hub/oauth_callback"
        loaded = load(Selection(folder, tuple(stanza.split("."))), {})
        assert loaded.config.login.tapis
        assert loaded.config.login.tapis.client_id == made["consumerKey"]
        assert loaded.secrets.get("client_secret") == Secret(made["consumerSecret"]), "each its own"
        assert not [note for note in loaded.notes if "oauth register" in note]
    assert (folder / "ops.secrets.yaml").stat().st_mode & 0o777 == 0o600


def test_a_secret_among_the_passwords_would_win_over_a_new_one(folder: Path, tenant: Agave) -> None:
    enter(folder, registered(folder, STANZAS[0]), STANZAS[0])
    (folder / "ops.passwords").write_text(f"{STANZAS[0]}:\n    jupyterhub_oauth_client_secret: canary-old\n")
    clients = dict(tenant.clients)
    said = registered(folder, STANZAS[0], "--replace", code=2)
    assert "but what is at ops.passwords:2 wins. Nothing was changed. Try: remove that line" in said
    assert tenant.clients == clients
