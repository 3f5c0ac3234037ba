"""A certificate and its key: whatever is wrong with them has its sentence, and the days are counted right."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from hubfleet.certificates import check_pair, read_certificate, warning
from hubfleet.errors import CheckError, ConfigError, HubfleetError
from pairs import NAME, Pair, make_pair

AUTHORITY = make_pair("authority", authority=True)
MIDDLE = make_pair("middle", by=AUTHORITY, authority=True)
GOOD = make_pair(NAME, by=MIDDLE)


def refused(folder: Path, kind: type[HubfleetError] = ConfigError, domain: str = NAME) -> str:
    with pytest.raises(kind) as caught:
        check_pair(folder / "hub.pem", folder / "hub.key", domain, where="hubfleet.yaml:4: https")
    return str(caught.value).replace(f"{folder}/", "")


def test_a_good_pair(tmp_path: Path) -> None:
    found = check_pair(*GOOD.write(tmp_path, MIDDLE, AUTHORITY), NAME)
    assert found.names == (NAME,)
    assert 89 < found.days_left(datetime.now(timezone.utc)) <= 90
    assert found.warning(datetime.now(timezone.utc)) is None
    assert read_certificate((tmp_path / "hub.pem").read_bytes()) == found


@pytest.mark.parametrize(
    ("names", "domain", "covered"),
    [
        ((NAME,), NAME, True),
        (("www.example.edu", "Hub.Example.edu"), NAME, True),
        (("*.example.edu",), NAME, True),
        (("*.example.edu",), "example.edu", False),
        (("*.example.edu",), "a.hub.example.edu", False),
        (("example.edu",), NAME, False),
        (("192.0.2.1",), "192.0.2.1", True),
        (("2001:db8::1",), "2001:db8::1", True),
        (("192.0.2.2",), "192.0.2.1", False),
    ],
)
def test_names(names: tuple[str, ...], domain: str, covered: bool) -> None:
    assert read_certificate(make_pair(*names).pem).covers(domain) == covered


def _another_key(folder: Path) -> None:
    GOOD.write(folder)
    (folder / "hub.key").write_bytes(MIDDLE.key_pem)


def _swapped(folder: Path) -> None:
    certificate, key = GOOD.write(folder)
    certificate.write_bytes(GOOD.key_pem)
    key.write_bytes(GOOD.pem)


def _own_last(folder: Path) -> None:
    MIDDLE.write(folder, GOOD)
    (folder / "hub.key").write_bytes(GOOD.key_pem)


def _with_password(folder: Path) -> None:
    _, key = GOOD.write(folder)
    key.write_bytes(GOOD.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"canary")))


def _no_certificate(folder: Path) -> None:
    GOOD.write(folder)[0].write_text("canary")


def _no_key(folder: Path) -> None:
    GOOD.write(folder)[1].write_text("canary")


def _key_missing(folder: Path) -> None:
    GOOD.write(folder)[1].unlink()


def _key_for_all(folder: Path) -> None:
    GOOD.write(folder)[1].chmod(0o644)


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "another key": (
        _another_key,
        "hub.key: key does not match certificate. Try: the key that the certificate was asked",
    ),
    "swapped": (
        _swapped,
        "hub.pem: holds a key, not a certificate. Try: a file with a line -----BEGIN CERTIFICATE-----",
    ),
    "own last": (
        _own_last,
        "hub.key: the key's certificate is not the first one in its file. Try: put the server's own",
    ),
    "a gap": (
        lambda folder: GOOD.write(folder, AUTHORITY),
        "hub.pem: certificate 2 of the file did not sign certificate 1. Try: the server's own first",
    ),
    "order": (
        lambda folder: GOOD.write(folder, MIDDLE, MIDDLE),
        "hub.pem: certificate 3 of the file did not sign certificate 2. Try: the server's own first",
    ),
    "password": (
        _with_password,
        "hub.key: the key has a password, and a hub starts without anybody to ask. Try: openssl",
    ),
    "no certificate": (
        _no_certificate,
        "hub.pem: is not a certificate in PEM form. Try: a file with a line -----BEGIN",
    ),
    "no key": (_no_key, "hub.key: is not a private key in PEM form. Try: a file with a line -----BEGIN PRIVATE KEY"),
    "key missing": (_key_missing, "hub.key cannot be read: No such file or directory. Try: ls -l hub.key"),
    "key for all": (_key_for_all, "hub.key: everybody on this machine may read this key. Try: run chmod 600 hub.key"),
    "another name": (
        lambda folder: make_pair("www.example.edu", "example.edu").write(folder),
        f"hub.pem: the certificate is for www.example.edu, example.edu, not for {NAME}. Try: domain: www.example.edu",
    ),
    "no name": (
        lambda folder: make_pair().write(folder),
        "hub.pem: the certificate has no name that browsers look at (subjectAltName). Try: ask its authority for one",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, tmp_path: Path) -> None:
    make, message = MISTAKES[mistake]
    make(tmp_path)
    said = refused(tmp_path)
    assert said.startswith(f"hubfleet.yaml:4: https: {message}")
    assert "canary" not in said


def test_a_certificate_whose_time_is_over_or_has_not_come(tmp_path: Path) -> None:
    old: Pair = make_pair(NAME, starts=-90, ends=-1)
    old.write(tmp_path)
    said = refused(tmp_path, CheckError)
    assert re.search(r"hub.pem: the certificate expired on \d{4}-\d\d-\d\d. Try: put the new one into its place", said)
    check_pair(tmp_path / "hub.pem", tmp_path / "hub.key", NAME, now=datetime.now(timezone.utc) - timedelta(days=2))
    make_pair(NAME, starts=1).write(tmp_path)
    assert "Try: set this machine's clock, or wait" in refused(tmp_path, CheckError)


@pytest.mark.parametrize(
    ("left", "lifetime", "told"),
    [
        (22, 365, None),
        (21, 90, None),
        (20.9, 365, "the certificate expires in 20 days"),
        (1.2, 365, "the certificate expires in 1 day"),
        (0.5, 365, "the certificate expires today"),
        (-0.5, 365, "the certificate expired today"),
        (-2, 365, "the certificate expired 2 days ago"),
        # what lives for six weeks is renewed with two left
        (14, 45, None),
        (11, 45, "the certificate expires in 11 days"),
    ],
)
def test_warnings(left: float, lifetime: float, told: str | None) -> None:
    assert warning(left, lifetime) == told
    pair = make_pair(NAME, starts=left - lifetime, ends=left)
    now = datetime.now(timezone.utc) - timedelta(minutes=1)
    assert (read_certificate(pair.pem).warning(now) is None) == (told is None)
