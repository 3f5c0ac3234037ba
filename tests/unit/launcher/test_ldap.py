"""Who owns a user's files, asked of a real directory: OpenLDAP's server, on a port of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import needs
from hubfleet.config.owner import Owner, OwnerOptions
from hubfleet.launcher.base import StartFailed
from hubfleet.launcher.ldapsource import LdapSource
from hubfleet.launcher.owners import Owners
from waiting import soon

pytestmark = [needs.command("slapd")]
SETTINGS = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
pidfile {place}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {place}/certificate.pem
TLSCertificateKeyFile {place}/key.pem
database mdb
suffix "dc=example,dc=edu"
rootdn "cn=root,dc=example,dc=edu"
directory {place}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn="cn=hub,dc=example,dc=edu" read by * none
"""
ENTRIES = """\
dn: dc=example,dc=edu
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: cn=hub,dc=example,dc=edu
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: hub
userPassword: canary-ldap

dn: uid=ada,dc=example,dc=edu
objectClass: account
objectClass: posixAccount
uid: ada
cn: Ada
uidNumber: 810001
gidNumber: 810500
homeDirectory: /01234/ada

dn: uid=ro*t,dc=example,dc=edu
objectClass: account
objectClass: posixAccount
uid: ro*t
cn: Root
uidNumber: 0
gidNumber: 0
homeDirectory: /root

dn: uid=printer,dc=example,dc=edu
objectClass: account
uid: printer
"""


class Directory:
    """One that runs: ``plain`` and ``encrypted`` are its addresses, ``authority`` the file to know it by."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.authority = place / "certificate.pem"
        self.plain, self.encrypted = (f"{kind}://{host}:{_port()}" for kind, host in _KINDS)
        (place / "data").mkdir()
        _certificate(place)
        (place / "slapd.conf").write_text(SETTINGS.format(place=place))
        (place / "entries.ldif").write_text(ENTRIES)
        self._tool("slapadd", "-l", place / "entries.ldif")

    def _tool(self, name: str, *arguments: str | Path) -> None:
        subprocess.run([name, "-f", self.place / "slapd.conf", *arguments], check=True, capture_output=True)

    def start(self) -> None:
        listens = f"{self.plain} {self.encrypted.replace('localhost', '127.0.0.1')}"
        self._tool("slapd", "-h", listens)
        soon(self._answers)

    def _answers(self) -> bool:
        # It listens a moment after it says that it runs.
        for address in (self.plain, self.encrypted):
            with socket.socket() as way:
                if way.connect_ex(("127.0.0.1", urlsplit(address).port or 0)):
                    return False
        return (self.place / "pid").exists()

    def stop(self) -> None:
        pid = int((self.place / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        soon(lambda: not (self.place / "pid").exists())


_KINDS = (("ldap", "127.0.0.1"), ("ldaps", "localhost"))


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _certificate(place: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    (place / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (place / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))


@contextmanager
def _place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hf-ldap-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def made() -> Iterator[Directory]:
    with _place() as place:
        directory = Directory(place)
        try:
            directory.start()
            yield directory
        finally:
            directory.stop()


def owners(directory: Directory, notes: Path, password: str = "canary-ldap", **changed: Any) -> Owners:
    settings = {"url": directory.plain, "base": "dc=example,dc=edu", "bind": "cn=hub,dc=example,dc=edu", **changed}
    options = OwnerOptions.model_validate({"ldap": {key: value for key, value in settings.items() if value}})
    assert options.ldap is not None
    return Owners(options, LdapSource(options.ldap, password, 5.0), notes / "owners.json")


async def refused(asked: Owners, user: str) -> str:
    with pytest.raises(StartFailed) as told:
        await asked.of(user)
    return str(told.value)


async def test_what_the_directory_says(made: Directory, tmp_path: Path) -> None:
    assert await owners(made, tmp_path).of("ada") == Owner(810_001, 810_500, "01234/ada")


async def test_over_an_encrypted_connection(
    made: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert "cannot be asked now" in await refused(owners(made, tmp_path, url=made.encrypted), "ada")
    assert "canary" not in caplog.text
    monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
    assert await owners(made, tmp_path, url=made.encrypted).of("ada") == Owner(810_001, 810_500, "01234/ada")


async def test_another_name_than_the_certificates(
    made: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
    url = made.encrypted.replace("localhost", "127.0.0.1")
    assert "cannot be asked now" in await refused(owners(made, tmp_path, url=url), "ada")


async def test_nobody_without_a_posix_account(made: Directory, tmp_path: Path) -> None:
    for user in ("eve", "printer"):
        assert "has no account" in await refused(owners(made, tmp_path), user)


@pytest.mark.parametrize("user", ["*", "ad*", "ada)(uid=*", "ada\\00", "ro*"])
async def test_a_name_is_no_pattern(made: Directory, tmp_path: Path, user: str) -> None:
    assert "has no account" in await refused(owners(made, tmp_path), user)


async def test_root_stays_root(made: Directory, tmp_path: Path) -> None:
    assert "user id 0, which no user may have" in await refused(owners(made, tmp_path), "ro*t")


async def test_who_asks_has_to_be_let_in(made: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = await refused(owners(made, tmp_path, "canary-wrong"), "ada")
    assert said.endswith("an administrator has to look at it")
    assert "does not accept storage.owner.ldap.bind" in caplog.text
    assert "canary" not in caplog.text
    await refused(owners(made, tmp_path, bind=None), "ada")


async def test_with_the_directory_away(tmp_path: Path) -> None:
    with _place() as place:
        directory = Directory(place)
        try:
            directory.start()
            await owners(directory, tmp_path).of("ada")
        finally:
            directory.stop()
        assert await owners(directory, tmp_path).of("ada") == Owner(810_001, 810_500, "01234/ada")
        assert "please try again in a few minutes" in await refused(owners(directory, tmp_path), "ben")


async def test_one_that_takes_connections_and_says_nothing(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"ldap://127.0.0.1:{silent.getsockname()[1]}"
        options = OwnerOptions.model_validate({"ldap": {"url": url, "base": "dc=edu", "bind": "cn=hub"}})
        assert options.ldap is not None
        asked = Owners(options, LdapSource(options.ldap, "canary", 0.5), tmp_path / "owners.json")
        assert "cannot be asked now" in await refused(asked, "ada")
