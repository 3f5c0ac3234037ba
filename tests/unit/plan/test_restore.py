"""What a generation was, once more: with the secrets there are now, and nothing that does not belong together."""

from __future__ import annotations

import pytest

from hubfleet.errors import CheckError
from hubfleet.plan import restored, secret_paths
from hubfleet.resources import Container, File, Image

TOKEN = File("/hub/token", "old", mode=0o600, secret=True)
KEY = File("/edge/key.pem", "old key", mode=0o600, secret=True)
CERTIFICATE = File("/edge/certificate.pem", "old certificate")
READER = Container("reader", "hubfleet/hub:1", ("run",), depends=(TOKEN.sha256, "another"))
EDGE = Container("edge", "hubfleet/hub:1", ("run",), depends=(KEY.sha256, CERTIFICATE.sha256))


def test_a_secret_that_is_still_known_is_filled_in() -> None:
    for known in (["old"], ["new", "old"]):
        assert restored([TOKEN.redacted(), READER], {TOKEN.path: known}, {}) == ((TOKEN, READER), ())


def test_one_that_is_another_by_now_stays_as_it_is_and_that_is_told() -> None:
    (file, container), notes = restored([TOKEN.redacted(), READER], {TOKEN.path: ["new", "newer"]}, {})
    now = File("/hub/token", "new", mode=0o600, secret=True)
    assert file == now
    assert isinstance(container, Container)
    assert container.depends == (now.sha256, "another"), "it is replaced again when that changes"
    assert len(notes) == 1
    assert "/hub/token" in notes[0]
    assert "old" not in notes[0].split()


def test_a_key_keeps_the_certificate_it_opens() -> None:
    then = [CERTIFICATE, KEY.redacted(), EDGE]
    assert secret_paths(then) == ["/edge/key.pem", "/edge/certificate.pem"]
    known = {KEY.path: ["new key"], CERTIFICATE.path: ["new certificate"]}
    (certificate, key, edge), notes = restored(then, known, {})
    assert isinstance(certificate, File)
    assert isinstance(key, File)
    assert isinstance(edge, Container)
    assert (certificate.content, key.content) == ("new certificate", "new key")
    assert edge.depends == (key.sha256, certificate.sha256)
    assert len(notes) == 2
    known[KEY.path].append("old key")
    assert restored(then, known, {}) == ((CERTIFICATE, KEY, EDGE), ())


def test_one_of_which_nothing_is_known_is_refused() -> None:
    with pytest.raises(CheckError, match="/hub/token is needed"):
        restored([TOKEN.redacted()], {TOKEN.path: []}, {})


def test_an_image_that_can_be_built_now_is_built() -> None:
    image = Image.of("hub", "debian:12", "FROM debian:12\n")
    other = Image.of("hub", "debian:12", "FROM debian:12\nUSER 1\n").redacted()
    assert restored([image.redacted(), other], {}, {image.tag: image}) == ((image, other), ())
