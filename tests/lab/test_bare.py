"""A machine that has Python and SSH and nothing else becomes a hub by one command, through an account with sudo."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import dockerd
import pytest
from deployed import Server
from machines import Lab, Machine
from registries import Registry

import needs
from pairs import make_pair

pytestmark = [*needs.machines(1500), needs.command("docker-registry")]


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Machine:
    """As it comes from whoever rents machines out."""
    return lab.start("hub1")


@pytest.fixture(scope="module")
def registry(lab: Lab, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Where the base of all images comes from; only its own authority vouches for it."""
    gateway = f"{machine.address.rpartition('.')[0]}.1"
    made = Registry(tmp_path_factory.mktemp("registry"), gateway, make_pair("authority", authority=True))
    known = Path("/etc/docker/certs.d") / made.name  # where the tests' engine looks
    try:
        known.mkdir(parents=True)
        (known / "ca.crt").write_bytes(made.authority.read_bytes())
        lab.engine.docker("tag", dockerd.BASE, f"{made.name}/ours/base:1")
        lab.engine.docker("push", "--quiet", f"{made.name}/ours/base:1")
        lab.engine.docker("rmi", f"{made.name}/ours/base:1")
        yield made
    finally:
        shutil.rmtree(known)
        made.end()


class Bare(Server):
    """A hub on a machine that is reached as somebody who may use sudo."""

    def __init__(self, machine: Machine, folder: Path, registry: Registry) -> None:
        self.registry = registry
        super().__init__(machine, folder)

    def write(self, settings: str) -> None:
        reached = {"ssh": f"admin@{self.machine.address}", "ssh_config": "ssh_config"}
        told = {
            "hub": self.name,
            "engine": "docker",
            "machines": {"hub1": reached},
            "base_image": f"{self.registry.name}/ours/base:1",
            "https": "self-signed",
            "login": {"password": "file"},
            "network": {"ca_bundle": "site-ca.crt"},
        }
        (self.folder / "site-ca.crt").write_bytes(self.registry.authority.read_bytes())
        (self.folder / "hubfleet.yaml").write_text(json.dumps(told))


def test_one_command_and_somebody_computes(
    machine: Machine, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine.run("command -v docker || echo none") == "none"
    hub = Bare(machine, tmp_path, registry)
    said = hub.run("check").stdout
    assert "is reached as root" in said, "by sudo"
    assert "PROBLEM" not in said
    assert f"image {registry.name}/ours/base:1 is in its registry" in said
    assert machine.run("command -v docker || echo none") == "none", "looking changes nothing"

    said = hub.up()
    assert f"Hub {hub.name} is ready: {hub.url}" in said
    monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", str(hub.root))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(hub.root))
    person = hub.person("maria")
    assert person.start()[-1]["ready"]
    assert person.kernel().run("print('the answer is', 6 * 7)").strip() == "the answer is 42"
    assert hub.status()["state"] == "running"
    assert "nothing to change" in hub.plan()
    assert machine.docker("info", "--format", "{{.LiveRestoreEnabled}}") == "true"
    assert machine.run("ls /etc/docker/certs.d 2>/dev/null", check=False) == "", "its authority was for building only"
