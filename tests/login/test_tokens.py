"""People's own tokens of their tenant in their servers, with the clients that people use there, as published."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from harness import Kernel, RunningHub, await_that
from visitors import Visitor, await_log, callback, configure, log_of

import needs
from authority import certificate
from providers import Agave, Provider, Tapis, at_usual_ports

pytestmark = needs.root()

HOST = f"127.77.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
"""Of this process alone, for its ports 80 and 443."""
REPOSITORY = Path(__file__).parents[2]
BEGIN = "import json, os, subprocess, sys; from pathlib import Path; home = Path.home()\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Files with the tenant's certificate and its key."""
    return certificate(tmp_path_factory.mktemp("tenant"), HOST)


@pytest.fixture(scope="module")
def clients(base: Path, pair: tuple[str, str]) -> Path:
    """A directory with the clients, in an environment of their own that believes the tenant's certificate."""
    folder = base / "clients"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes"]
    subprocess.run([*install, "-r", REPOSITORY / "requirements" / "clients.txt"], check=True)
    [believed] = folder.glob("lib/*/site-packages/certifi/cacert.pem")
    with believed.open("a") as file:
        file.write(Path(pair[0]).read_text())
    return folder


@pytest.fixture
def hub(one_hub: RunningHub, hub_logs: list[Path]) -> Iterator[RunningHub]:
    """After each test: no token is in a log, a plan, the launcher's files, or unencrypted in the hub's."""
    hub_logs.append(one_hub.logs)
    yield one_hub
    files = [file for name in ("hub", "launcher", "logs", "supervisor") for file in (one_hub.state / name).rglob("*")]
    for file in files:
        if file.is_file() and file.name != "hub-secrets.json":
            assert b"canary" not in file.read_bytes(), file
    assert "canary" not in one_hub.run("plan", "--full").stdout


@pytest.fixture
def tenant(kind: type[Agave], pair: tuple[str, str]) -> Iterator[Agave]:
    """One that lets everybody in. agavepy knows no address with a port, and nothing but HTTPS."""
    with at_usual_ports(kind(), HOST, pair) as tenant:
        yield tenant  # type: ignore[misc]


def deploy(hub: RunningHub, tenant: Provider, clients: Path, version: int, more: str = "") -> None:
    tenant.callback = callback(hub)
    inner = f"tenant: ours, version: {version}, base_url: '{tenant.url}', client_id: {tenant.client}"
    login = f"  tapis: {{{inner}{more}}}\n  allow: {{everybody: true}}\n"
    configure(hub, f"{login}storage: {{mounts: ['{clients}:/opt/clients:ro']}}\n", tenant.secret)
    hub.up()


def entered(hub: RunningHub, tenant: Provider, name: str) -> tuple[Visitor, Kernel]:
    """Somebody who has logged in, with a server and a kernel."""
    person = Visitor(hub, name)
    assert person.enter(tenant).status_code == 302
    assert person.start()[-1].get("ready")
    kernel = person.kernel()
    return person, kernel


def current(hub: RunningHub, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((hub.homes / name / ".agave" / "current").read_text())
    return found


def client(code: str) -> str:
    """What a program of the clients' environment prints, started by a kernel."""
    run = f"subprocess.run(['/opt/clients/bin/python', '-c', {code!r}], capture_output=True, text=True)"
    return f"{BEGIN}done = {run}; print(done.stdout, done.stderr)"


AGAVEPY = """
from agavepy.agave import Agave
print('it is', Agave.restore().profiles.listByUsername(username='me').username)
"""
TAPIPY = """
import os
from tapipy.tapis import Tapis
client = Tapis(
    base_url=os.environ['TAPIS_BASE_URL'],
    tenant_id=os.environ['TAPIS_TENANT_ID'],
    access_token=os.environ['TAPIS_TOKEN'],
)
print('it is', client.authenticator.get_userinfo().username)
"""


@pytest.mark.parametrize(("kind", "version", "code"), [(Agave, 2, AGAVEPY), (Tapis, 3, TAPIPY)])
def test_the_clients_of_the_tenant_work_at_once(
    hub: RunningHub, tenant: Agave, clients: Path, version: int, code: str
) -> None:
    deploy(hub, tenant, clients, version)
    name = f"tia{version}"
    person, kernel = entered(hub, tenant, name)
    assert f"it is {name}" in kernel.run(client(code))
    [token] = tenant.tokens
    home = hub.homes / name
    assert current(hub, name)["access_token"] == token
    assert json.loads((home / ".agpy").read_text())[0]["token"] == token
    owner = home.stat().st_uid
    for file in (home / ".agave" / "current", home / ".agpy"):
        assert (file.stat().st_mode & 0o777, file.stat().st_uid) == (0o600, owner)
    # What renews it stays in the hub.
    [refresh] = tenant.refreshes
    everything = kernel.run(f"{BEGIN}print(dict(os.environ), (home/'.agpy').read_text())")
    assert token in everything
    assert refresh not in everything
    assert refresh not in (home / ".agave" / "current").read_text()
    kernel.close()
    person.stop()


def visitor_token(person: Visitor, kernel: Kernel) -> str:
    """What a server has of somebody who visits it with a browser, here the person's own."""
    server, client, secret = kernel.run(
        "import os; print(*[os.environ['JUPYTERHUB_' + n] for n in ('SERVICE_PREFIX', 'CLIENT_ID', 'API_TOKEN')])"
    ).split()
    asked = {"client_id": client, "redirect_uri": f"{server}oauth_callback", "response_type": "code", "state": "s"}
    verifier = "v" * 64
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    pkce = {"code_challenge": challenge, "code_challenge_method": "S256"}
    oauth = f"{person.hub.url}/hub/api/oauth2"
    back = person.session.get(f"{oauth}/authorize", params=asked | pkce, allow_redirects=False, timeout=30)
    code = parse_qs(urlsplit(back.headers["Location"]).query)["code"][0]
    given = {**asked, "client_secret": secret, "grant_type": "authorization_code", "code": code}
    answer = requests.post(f"{oauth}/token", data={**given, "code_verifier": verifier}, timeout=30)
    token = str(answer.json()["access_token"])
    who = requests.get(f"{person.hub.url}/hub/api/user", headers={"Authorization": f"token {token}"}, timeout=30)
    assert who.json()["name"] == person.name
    return token


@pytest.mark.parametrize("kind", [Agave])
def test_a_token_is_renewed_while_the_server_runs_and_only_for_its_own_user(
    hub: RunningHub, tenant: Agave, clients: Path
) -> None:
    tenant.lasts = 6
    deploy(hub, tenant, clients, 2)
    tom, kernel = entered(hub, tenant, "tom")
    ugo, other = entered(hub, tenant, "ugo")
    first = current(hub, "tom")["access_token"]
    second = await_that("it was renewed", lambda: (now := current(hub, "tom")["access_token"]) != first and now)
    assert (tenant.tokens[second], tenant.tokens[current(hub, "ugo")["access_token"]]) == ("tom", "ugo")
    later = tom.kernel()
    assert later.run("import os; print(os.environ['TAPIS_TOKEN'])").strip() in tenant.tokens

    # The hub is asked with everything that there is but a server's own token, and by a server for somebody else.
    address = f"{hub.url}/hub/api/hubfleet/token"
    own = other.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    told = requests.get(f"{address}?user=tom", headers={"Authorization": f"token {own}"}, timeout=30)
    assert (told.status_code, told.json()["username"]) == (200, "ugo")
    for token in (tom.token, visitor_token(tom, kernel), hub.operator_token(), "0" * 32):
        refused = requests.get(address, headers={"Authorization": f"token {token}"}, timeout=30)
        assert refused.status_code == 403, refused.text
    assert tom.session.get(address, timeout=30).status_code == 403

    # The tenant is away: nobody is put out, and the token comes again when it does.
    said = len(log_of(hub))
    tenant.stop()
    await_log(hub, "The token of tom could not be renewed", said)
    assert tom.inside
    assert "4" in kernel.run("2 + 2")
    tenant.start()
    for one in (kernel, other, later):
        one.close()
    ugo.stop()
    assert requests.get(address, headers={"Authorization": f"token {own}"}, timeout=30).status_code == 403
    asked = tenant.asked.count("POST /oauth2/token")
    tom.stop()
    assert tom.start()[-1].get("ready")
    await_that("there is another token", lambda: current(hub, "tom")["access_token"] != second)
    assert tenant.asked.count("POST /oauth2/token") > asked
    tom.stop()


@pytest.mark.parametrize("kind", [Agave])
def test_tokens_may_be_left_out(hub: RunningHub, tenant: Agave, clients: Path) -> None:
    deploy(hub, tenant, clients, 2, ", tokens: false")
    tam, kernel = entered(hub, tenant, "tam")
    assert "canary" not in kernel.run("import os; print(dict(os.environ))")
    assert not (hub.homes / "tam" / ".agave").exists()
    kernel.close()
    tam.stop()
