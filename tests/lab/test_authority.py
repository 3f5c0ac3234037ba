"""A hub whose certificate comes from an authority, from the first `up` on: got, kept without it, and after a reboot."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from edges import Authority, Network
from hubs_there import write_files
from machines import Lab, Machine
from stock import stocked

import command
import needs
from hubfleet.certificates import read_certificate
from pairs import NAME
from waiting import soon

pytestmark = [*needs.machines(), needs.command("caddy"), needs.command("curl")]
PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Machine:
    """Which knows itself by the hub's name."""
    made = stocked(lab)
    made.run(f"echo '{made.address} {NAME}' >>/etc/hosts")
    return made


@pytest.fixture(scope="module")
def authority(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """Beside the machine, which it finds by the hub's name."""
    folder = tmp_path_factory.mktemp("authority")
    network = Network(folder, NAME, address=machine.address, apart=False)
    made = Authority(folder / "authority", network, f"{machine.address.rpartition('.')[0]}.1")
    made.start()
    yield made
    made.end()
    network.end()


@pytest.fixture(scope="module")
def folder(machine: Machine, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the files of a hub that asks this authority."""
    made = tmp_path_factory.mktemp("hub")
    (made / "our-ca.pem").write_bytes(authority.root.read_bytes())
    write(made, machine, authority)
    return made


def write(folder: Path, machine: Machine, authority: Authority, **settings: object) -> None:
    https = {"acme": authority.url, "ca_bundle": "our-ca.pem", "email": "profx@example.edu"}
    write_files(folder, machine, domain=NAME, https=https, login={"password": "file"}, **settings)


def page(machine: Machine, authority: Authority, *options: str) -> subprocess.CompletedProcess[str]:
    """The login page, for who trusts this authority only."""
    known = ["--cacert", str(authority.root), "--resolve", f"{NAME}:443:{machine.address}", "--noproxy", "*"]
    limits = ["--silent", "--show-error", "--fail", "--max-time", "20"]
    argv = ["curl", *limits, *known, *options, f"https://{NAME}/hub/login"]
    return subprocess.run(argv, capture_output=True, text=True)


def served(machine: Machine, authority: Authority) -> bytes:
    """The certificate that is shown."""
    said = page(machine, authority, "--output", "/dev/null", "--write-out", "%{certs}").stdout
    return said[said.find("-----BEGIN") :].encode()


def test_the_first_up_gets_a_certificate(machine: Machine, authority: Authority, folder: Path) -> None:
    done = command.run(folder, "up", "--yes")
    assert done.code == 0, done.err
    assert f"https://{NAME}" in done.out
    soon(lambda: page(machine, authority).returncode == 0, PATIENCE_S)
    assert "User name" in page(machine, authority).stdout
    assert "strict-transport-security" in page(machine, authority, "--include").stdout.lower()
    assert read_certificate(served(machine, authority)).names == (NAME,)
    stranger = page(machine, authority, "--cacert", "/etc/ssl/certs/ca-certificates.crt")
    assert stranger.returncode == 60, "nobody else vouches for it"
    status = json.loads(command.run(folder, "status", "--json").out)
    assert (status["state"], status["certificate"]["names"]) == ("running", [NAME])
    assert "nothing to change" in command.run(folder, "plan").out


def test_without_the_authority_all_goes_on(machine: Machine, authority: Authority, folder: Path) -> None:
    before = served(machine, authority)
    authority.end()
    try:
        machine.docker("restart", "--time", "1", "hubfleet-lab-edge")
        soon(lambda: page(machine, authority).returncode == 0, PATIENCE_S)
        assert served(machine, authority) == before
        write(folder, machine, authority, servers={"memory": {"limit": "900M"}})
        done = command.run(folder, "up", "--yes")
        assert done.code == 0, done.err
        assert served(machine, authority) == before
        machine.reboot()
        soon(lambda: page(machine, authority).returncode == 0, PATIENCE_S)
        assert served(machine, authority) == before
    finally:
        authority.start()
