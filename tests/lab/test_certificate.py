"""A certificate of one's own takes another's place while a cell runs; one that has expired stops nothing but browsers.

One hub for both.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dockerd
import pytest
import requests
from cryptography import x509
from deployed import DistantCell, Server
from machines import Lab, Machine
from stock import stocked

import needs
from pairs import NAME, Pair, make_pair
from waiting import soon

pytestmark = needs.machines()

SECONDS = 1 / 86400
LASTS_S = 90.0
"""More than the `up` that brings it, so that it is good when that looks at it."""
BACK_S = 180.0


class Site(Server):
    """A hub with a name and a certificate, which is told who may sign such."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.authority = make_pair("an authority", authority=True)
        super().__init__(machine, folder, "lab")
        self.url = f"https://{NAME}"
        self.root.write_bytes(self.authority.pem)

    def write(self, settings: str, **given: Any) -> None:
        reached = {"ssh": f"root@{self.machine.address}", "ssh_config": "ssh_config"}
        told = {"hub": self.name, "engine": "docker", "machines": {"hub1": reached}, "base_image": dockerd.BASE}
        told |= {"domain": NAME, "https": {"certificate": "hub.pem", "key": "hub.key"}, **given}
        (self.folder / "hubfleet.yaml").write_text(json.dumps(told))

    def give(self, **when: float) -> Pair:
        """Put a new certificate, signed by the authority, into its place."""
        made = make_pair(NAME, by=self.authority, **when)
        made.write(self.folder)
        return made

    def up(self) -> str:
        return self.run("up", "--yes", timeout=1200).stdout

    def shown(self) -> int:
        """The number of the certificate that people are shown."""
        pem = ssl.get_server_certificate((self.machine.address, 443), timeout=10)
        return x509.load_pem_x509_certificate(pem.encode()).serial_number


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The hub; this process finds it by its name, and trusts its authority alone."""
    made = Site(stocked(lab), tmp_path_factory.mktemp("site"))
    made.give()
    made.up()
    known = socket.getaddrinfo

    def resolved(host: Any, *rest: Any, **more: Any) -> Any:
        return known(made.machine.address if host == NAME else host, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolved)
        made.trusted(patch)
        yield made


def test_another_one_takes_its_place_while_a_cell_runs(site: Site) -> None:
    person = site.person("ada")
    assert person.start()[-1]["ready"]
    cell = DistantCell(person, site)
    before = site.shown()
    parts = {part: site.process(part) for part in ("hub", "proxy", "launcher")}
    new = site.give()
    assert site.up().count("restart container") == 1
    assert site.shown() == new.certificate.serial_number != before
    cell.finish()
    assert cell.reconnects <= 1
    assert {part: site.process(part) for part in parts} == parts
    assert site.status()["state"] == "running"
    assert site.changes() == []
    person.stop()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_one_that_has_expired_keeps_nobody_from_anything_but_browsers(site: Site) -> None:
    short = site.give(ends=LASTS_S * SECONDS)
    site.up()
    end = short.certificate.not_valid_after_utc
    soon(lambda: datetime.now(timezone.utc) > end + timedelta(seconds=1), LASTS_S + 5)
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{site.url}/hub/login", timeout=10)

    site.machine.reboot()
    soon(lambda: _serves(site), BACK_S)
    assert site.shown() == short.certificate.serial_number
    said = "the certificate expired today; put a new one into its place, then: hubfleet up"
    soon(lambda: site.status()["problems"] == [said], BACK_S)

    site.write("", servers={"memory": {"limit": "1G"}})
    checked = site.run("check").stdout
    assert "the certificate expired on" in checked
    assert "The hub has it already, and browsers refuse it" in " ".join(checked.split())
    assert "restart container hubfleet-lab-launcher" in site.up()
    assert site.changes() == []

    other = site.give(starts=-2, ends=-1)
    refused = site.run("up", "--yes", check=False)
    assert refused.returncode == 3
    assert "the certificate expired on" in refused.stdout + refused.stderr
    assert site.shown() == short.certificate.serial_number != other.certificate.serial_number

    site.give()
    site.up()
    assert site.status()["state"] == "running"
    assert requests.get(f"{site.url}/hub/login", timeout=10).status_code == 200


def _serves(site: Site) -> bool:
    try:
        return requests.get(f"{site.url}/hub/login", timeout=10, verify=False).status_code == 200
    except requests.RequestException:
        return False
