"""Two certificates with their keys, one for each end of a line between two machines: an edge's and the hub's, or a
machine's and the hub's when it fetches images.

Neither is signed by anybody else or may sign anything: each end is told the other's certificate and takes no other.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone

NAME = "gate.hubfleet.invalid"
"""What the edge asks for: the name in the gate's certificate, which is nobody's in any DNS."""
_EDGE_NAME = "edge.hubfleet.invalid"
LIFETIME = timedelta(days=3650)
RENEWED = timedelta(days=1095)
"""An `up` that finds less than this left makes new ones."""
_EARLIER = timedelta(days=1)  # for machines whose clock is behind


@dataclass(frozen=True)
class Link:
    """Certificates and keys as PEM; the keys are secrets. The gate is the end that listens."""

    gate_certificate: str
    gate_key: str
    edge_certificate: str
    edge_key: str

    def to_json(self) -> str:
        """What `kept` reads."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def kept(text: str | None, now: datetime | None = None, name: str = NAME) -> Link:
    """The link that `Link.to_json` wrote; a new one where there is none, or its end is near, or its gate is called
    something else."""
    found: Mapping[str, str] = json.loads(text or "{}")
    if found:
        link, moment = Link(**found), now or datetime.now(timezone.utc)
        lasts = min(map(_end, (link.gate_certificate, link.edge_certificate))) - moment > RENEWED
        if lasts and _names(link.gate_certificate) == [name]:
            return link
    return make(now, name)


def make(now: datetime | None = None, name: str = NAME) -> Link:
    """A new link to a gate that is asked for by this name, which may be an IP address."""
    moment = now or datetime.now(timezone.utc)
    return Link(*_pair(name, moment, server=True), *_pair(_EDGE_NAME, moment, server=False))


def _names(certificate: str) -> list[str]:
    from cryptography import x509

    extensions = x509.load_pem_x509_certificate(certificate.encode()).extensions
    return [str(one.value) for one in extensions.get_extension_for_class(x509.SubjectAlternativeName).value]


def _end(certificate: str) -> datetime:
    # Here and below only where there is a link: loading it takes time that most commands need not spend.
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def _pair(name: str, now: datetime, *, server: bool) -> tuple[str, str]:
    """Certificate and key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def _general(text: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(text))
        except ValueError:
            return x509.DNSName(text)

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    use = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general(name)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .sign(key, SHA256())
    )
    return (
        certificate.public_bytes(Encoding.PEM).decode(),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )
