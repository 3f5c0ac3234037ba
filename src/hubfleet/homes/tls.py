"""A line between two machines on which each end takes the other's certificate, and no other."""

from __future__ import annotations

import ssl


def client_context(certificate: str, key: str, keeper: str) -> ssl.SSLContext:
    """For the end that asks. All are files. Raises OSError."""
    return _pinned(ssl.PROTOCOL_TLS_CLIENT, certificate, key, keeper)


def server_context(certificate: str, key: str, launcher: str) -> ssl.SSLContext:
    """For the end that is asked: nobody gets a word in without the launcher's certificate."""
    return _pinned(ssl.PROTOCOL_TLS_SERVER, certificate, key, launcher)


def _pinned(kind: int, certificate: str, key: str, other: str) -> ssl.SSLContext:
    context = ssl.SSLContext(kind)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    # The other's certificate is all there is to trust: it is signed by nobody, and may sign nothing.
    context.load_verify_locations(other)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(certificate, key)
    return context
