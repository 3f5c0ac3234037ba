"""Logins at a provider on a hub of containers: the hub's own container asks it, by HTTPS, with the site's authority."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed import Server
from harness import await_that
from visitors import Visitor

import needs
from providers import GitHub, running

pytestmark = needs.machines(1500)

LOGIN = """\
login:
  github: {{client_id: {client}, host: '{host}'}}
  allow: {{teams: [edu/physics], file: people.txt}}
"""


@pytest.fixture
def github(server: Server) -> Iterator[GitHub]:
    """A provider beside the server, at the address by which those of the lab's network know this machine."""
    provider = GitHub()
    provider.host, provider.certificate = server.beside, server.site
    provider.callback = f"{server.url}/hub/oauth_callback"
    with running(provider):
        yield provider


@pytest.fixture
def vouched(server: Server, github: GitHub) -> Iterator[Server]:
    """The hub, whose people the provider vouches for; afterwards as it was."""
    file, secrets = server.folder / "hubfleet.yaml", server.folder / "hubfleet.secrets.yaml"
    before, known = file.read_text(), secrets.read_text()
    (server.folder / "people.txt").write_text("dana\n")
    host = github.url.removeprefix("https://")
    login = LOGIN.format(client=github.client, host=host)
    file.write_text(before.replace("login: {password: file}\n", login))
    secrets.write_text(f"client_secret: {github.secret}\n")
    yield server
    file.write_text(before)
    secrets.write_text(known)
    server.up()


def visitor(server: Server, name: str, trusted: Path) -> Visitor:
    somebody = Visitor(server, name)
    # The variables that have this process trust the hub's authority would have it trust no other.
    somebody.session.verify, somebody.session.trust_env = str(trusted), False
    return somebody


def test_from_up_to_a_server_and_out_again(vouched: Server, github: GitHub, tmp_path: Path) -> None:
    assert "GitHub answers, and knows this hub" in vouched.run("check").stdout
    told = vouched.up()
    assert "the test user: the notebook ran" in told, "it is tried out by a test user, whom no provider knows"
    assert "canary" not in told
    trusted = tmp_path / "both.crt"
    trusted.write_text(vouched.root.read_text() + Path(vouched.site[0]).read_text())
    github.add("ada", 1, "edu/physics")
    github.add("dana", 2)
    github.add("eve", 3)

    ada, dana = visitor(vouched, "ada", trusted), visitor(vouched, "dana", trusted)
    assert ada.enter(github).status_code == 302
    assert dana.enter(github).status_code == 302
    assert visitor(vouched, "eve", trusted).enter(github).status_code == 403
    assert ada.start()[-1]["ready"]
    assert dana.start()[-1]["ready"]

    parts = {part: vouched.process(part) for part in ("hub", "launcher", "proxy")}
    (vouched.folder / "people.txt").write_text("fay\n")
    assert "could not log in any more: dana" in vouched.plan()
    vouched.up()
    await_that("dana is out", lambda: not dana.inside)
    await_that("dana's server is gone", lambda: [entry["user"] for entry in vouched.status()["servers"]] == ["ada"])
    assert ada.inside
    assert {part: vouched.process(part) for part in parts} == parts, "nothing was restarted for a list of names"

    hub = vouched.container("hub")
    assert "canary" not in vouched.machine.docker("logs", hub)
    assert "canary" not in vouched.machine.docker("inspect", hub)
    ada.stop()
