"""The pair of certificates of the line between two machines: what is in them, and when they are made anew."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from cryptography import x509

from hubfleet.link import LIFETIME, NAME, RENEWED, Link, kept, make

NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)


def certificates(link: Link) -> list[x509.Certificate]:
    return [x509.load_pem_x509_certificate(text.encode()) for text in (link.gate_certificate, link.edge_certificate)]


def test_they_may_sign_nothing_and_are_for_one_end_each() -> None:
    gate, edge = certificates(make(NOW))
    for one, use in ((gate, "serverAuth"), (edge, "clientAuth")):
        assert not one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        (found,) = one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert found._name == use
    names = gate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]


def test_they_are_kept_until_well_before_their_end() -> None:
    link = make(NOW)
    assert kept(link.to_json(), NOW + LIFETIME - RENEWED - timedelta(days=1)) == link
    renewed = kept(link.to_json(), NOW + LIFETIME - RENEWED + timedelta(days=1))
    assert renewed.gate_key != link.gate_key
    assert certificates(renewed)[0].not_valid_after_utc > certificates(link)[0].not_valid_after_utc


def test_there_is_a_first_time() -> None:
    assert kept(None, NOW).gate_key != kept(None, NOW).gate_key
