"""A certificate and its key, looked at before a hub is given them, and the days that one has left."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from hubfleet.errors import CheckError, ConfigError

WARN_DAYS = 21
# A certificate of weeks is renewed late in its life by rule: to warn of it earlier would be to warn always.
_WARN_SHARE = 0.25
_DAY_S = 86400


class Expired(CheckError):
    """A certificate whose time is over, and which is sound otherwise: ``certificate``."""

    def __init__(self, certificate: Certificate, where: str | None) -> None:
        what = f"the certificate expired on {certificate.ends:%Y-%m-%d}"
        super().__init__(what, where=where, remedy="put the new one into its place")
        self.certificate = certificate


@dataclass(frozen=True)
class Certificate:
    """What matters of a certificate. ``names``: the names and addresses it is for; times are in UTC."""

    names: tuple[str, ...]
    starts: datetime
    ends: datetime

    def days_left(self, now: datetime) -> float:
        """Days until it expires; below zero when it has."""
        return (self.ends - now).total_seconds() / _DAY_S

    def covers(self, domain: str) -> bool:
        """Whether browsers take it for the certificate of this name or IP address."""
        # A pattern stands for one part of a name, and only for the first.
        pattern = f"*.{domain.partition('.')[2]}"
        return any(name in (domain, pattern) for name in self.names)

    def warning(self, now: datetime) -> str | None:
        """What to tell people of a certificate that ends soon or has ended; None while there is time."""
        lifetime = (self.ends - self.starts).total_seconds() / _DAY_S
        return warning(self.days_left(now), lifetime)


def warning(days_left: float, lifetime: float = 365) -> str | None:
    """What to tell people of a certificate with so many days left; None while there is time.

    lifetime: days between its beginning and its end. 21 days are warned of, a quarter of a shorter lifetime.
    """
    days = int(abs(days_left))
    if days_left < 0:
        return f"the certificate expired {_days(days)} ago" if days else "the certificate expired today"
    if days_left >= min(WARN_DAYS, lifetime * _WARN_SHARE):
        return None
    return f"the certificate expires in {_days(days)}" if days else "the certificate expires today"


def read_certificate(pem: bytes, where: str | None = None) -> Certificate:
    """The first certificate of a file's content. Raises ConfigError, with ``where`` before it."""
    return _described(_chain(pem, where)[0])


def check_pair(
    certificate: Path, key: Path, domain: str, *, now: datetime | None = None, where: str | None = None
) -> Certificate:
    """The certificate in these files, if a hub at ``domain`` can be given it and its key.

    where: what errors begin with, such as "hubfleet.yaml:4: https".
    Raises ConfigError for files that are not what they should be, do not belong together or are for another name, and
    CheckError for a certificate whose time has not come, or is over (Expired).
    """
    content = _read(certificate, where)
    _chain(content, f"{_lead(where)}{certificate.name}")
    kept = _read(key, where)
    if stat.S_IMODE(key.stat().st_mode) & 0o007:
        at = f"{_lead(where)}{key.name}"
        raise ConfigError("everybody on this machine may read this key", where=at, remedy=f"run chmod 600 {key}")
    return check_texts((certificate.name, content), (key.name, kept), domain, now=now, where=where)


def check_texts(
    certificate: tuple[str, bytes],
    key: tuple[str, bytes],
    domain: str,
    *,
    now: datetime | None = None,
    where: str | None = None,
) -> Certificate:
    """The same for what such files hold; each with what it is called."""
    at = f"{_lead(where)}{certificate[0]}"
    chain = _chain(certificate[1], at)
    _check_key(chain, key[1], f"{_lead(where)}{key[0]}")
    _check_order(chain, at)
    found = _described(chain[0])
    if not found.names:
        what = "the certificate has no name that browsers look at (subjectAltName)"
        raise ConfigError(what, where=at, remedy=f"ask its authority for one with the name {domain}")
    if not found.covers(domain):
        what = f"the certificate is for {', '.join(found.names[:5])}, not for {domain}"
        raise ConfigError(
            what, where=at, remedy=f"domain: {found.names[0].replace('*', 'hub')}, or another certificate"
        )
    moment = now or datetime.now(timezone.utc)
    if found.starts > moment:
        what = f"the certificate is valid from {found.starts:%Y-%m-%d %H:%M} UTC on, and it is {moment:%Y-%m-%d %H:%M}"
        raise CheckError(what, where=at, remedy="set this machine's clock, or wait")
    if found.ends < moment:
        raise Expired(found, at)
    return found


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _lead(where: str | None) -> str:
    return f"{where}: " if where else ""


def _read(path: Path, where: str | None) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", where=where, remedy=f"ls -l {path}") from None


def _chain(pem: bytes, where: str | None) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except (ValueError, UnsupportedAlgorithm):
        what = "holds a key, not a certificate" if b"PRIVATE KEY-----" in pem else "is not a certificate in PEM form"
        remedy = "a file with a line -----BEGIN CERTIFICATE-----"
        raise ConfigError(what, where=where, remedy=remedy) from None


def _check_key(chain: Sequence[x509.Certificate], content: bytes, at: str) -> None:
    wanted = _bytes(_private(content, at).public_key())
    if _bytes(chain[0].public_key()) == wanted:
        return
    if any(_bytes(link.public_key()) == wanted for link in chain[1:]):
        what, remedy = (
            "the key's certificate is not the first one in its file",
            "put the server's own certificate first",
        )
    else:
        what, remedy = "key does not match certificate", "the key that the certificate was asked for with"
    raise ConfigError(what, where=at, remedy=remedy)


def _private(content: bytes, where: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(content, password=None)
    except TypeError:
        what, remedy = (
            "the key has a password, and a hub starts without anybody to ask",
            "openssl pkey -in ... -out ...",
        )
    except (ValueError, UnsupportedAlgorithm):
        what, remedy = "is not a private key in PEM form", "a file with a line -----BEGIN PRIVATE KEY-----"
    raise ConfigError(what, where=where, remedy=remedy)


def _bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_order(chain: Sequence[x509.Certificate], where: str) -> None:
    """Each certificate is signed by the one after it. Which authority ends the chain is the browsers' to judge."""
    for number, (link, after) in enumerate(pairwise(chain), 1):
        try:
            link.verify_directly_issued_by(after)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            what = f"certificate {number + 1} of the file did not sign certificate {number}"
            remedy = "the server's own first, then the one that signed it, and so on"
            raise ConfigError(what, where=where, remedy=remedy) from None


def _described(certificate: x509.Certificate) -> Certificate:
    try:
        value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        names: tuple[str, ...] = ()
    else:
        addresses = value.get_values_for_type(x509.IPAddress)
        plain = [
            str(address) for address in addresses if isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
        ]
        names = (*(name.lower() for name in value.get_values_for_type(x509.DNSName)), *plain)
    return Certificate(names, certificate.not_valid_before_utc, certificate.not_valid_after_utc)
