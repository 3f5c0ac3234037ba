"""Asks an image's registry whether it has the image, as one who has no account there."""

from __future__ import annotations

import ipaddress
import json
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hubfleet import unixhttp
from hubfleet.errors import HubfleetError

if TYPE_CHECKING:
    # Where they are used: they take their time to be imported, and few commands ask a registry.
    import ssl
    from email.message import Message

LIMIT_S = 5.0
"""For one answer."""
ALL_LIMIT_S = 15.0
"""For all that is asked for one image: the registry, who gives tokens for it, the registry again."""
ENGINE_LIMIT_S = 8.0
CERTIFICATES = Path("/etc/docker/certs.d")
"""Where the engine looks for the certificates of a registry's authority, in a directory of the registry's name."""
PUBLIC, PUBLIC_HOST = "docker.io", "registry-1.docker.io"
THERE, ABSENT, REFUSED, TROUBLE, UNTRUSTED, UNREACHABLE = (
    *("there", "absent", "refused", "trouble"),
    *("untrusted", "unreachable"),
)
"""What a registry may turn out to be or to say."""

_FORMS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_PART = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Reference:
    """An image's name taken apart. ``registry``: as in the name, and as the engine calls the directory for it."""

    registry: str
    repository: str
    version: str

    @classmethod
    def of(cls, image: str) -> Reference:
        name, _, digest = image.partition("@")
        first, slash, rest = name.partition("/")
        if not (slash and ("." in first or ":" in first or first == "localhost")):
            first, rest = PUBLIC, name
        path, colon, tag = rest.rpartition(":")
        path, tag = (path, tag) if colon else (rest, "")
        if first in (PUBLIC, f"index.{PUBLIC}"):
            first, path = PUBLIC, path if "/" in path else f"library/{path}"
        return cls(first, path, digest or tag or "latest")

    @property
    def address(self) -> str:
        """Host and port, where that is not the usual one."""
        return PUBLIC_HOST if self.registry == PUBLIC else self.registry

    @property
    def loopback(self) -> bool:
        """Whether the engine speaks to it without TLS too."""
        host = self.registry.rpartition(":")[0] or self.registry
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def manifests(images: Iterable[str], authorities: str) -> dict[str, list[str]]:
    """By image, what its registry says of it (`THERE` and others), and why; all at once, in `ALL_LIMIT_S`.

    authorities: certificates (PEM) to trust beside those that the machine and its engine trust.
    """
    late = [UNREACHABLE, f"no answer within {ALL_LIMIT_S:.0f} s"]
    found = dict.fromkeys(images, late)

    def ask(image: str) -> None:
        found[image] = list(_manifest(Reference.of(image), image, authorities))

    threads = [threading.Thread(target=ask, args=(image,), daemon=True) for image in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ALL_LIMIT_S)
    return dict(found)


def _manifest(wanted: Reference, image: str, authorities: str) -> tuple[str, str]:
    import ssl
    from http.client import HTTPException

    context = _context(wanted, authorities)
    said = UNREACHABLE, ""
    for scheme in ("https", "http") if wanted.loopback else ("https",):
        try:
            said = _asked(f"{scheme}://{wanted.address}", wanted, context)
            break
        except ssl.SSLCertVerificationError as error:
            said = UNTRUSTED, error.verify_message
            break
        except (OSError, HTTPException, ValueError) as error:
            said = UNREACHABLE, getattr(error, "strerror", None) or str(error) or type(error).__name__
    if said[0] in (UNTRUSTED, UNREACHABLE) and _engine_sees(image):
        return THERE, ""  # through a mirror or a proxy that only the engine knows
    return said


def _context(wanted: Reference, authorities: str) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context()
    known = [path.read_text() for path in sorted((CERTIFICATES / wanted.registry).glob("*.crt"))]
    for text in (authorities, *known):
        if text:
            context.load_verify_locations(cadata=text)
    return context


def _asked(base: str, wanted: Reference, context: ssl.SSLContext) -> tuple[str, str]:
    """Raises OSError or HTTPException where nothing answers."""
    address = f"{base}/v2/{wanted.repository}/manifests/{wanted.version}"
    status, headers, _ = _answer("HEAD", address, context)
    challenge = headers.get("WWW-Authenticate", "")
    if status == 401 and challenge.lower().startswith("bearer "):
        token = _token(dict(_PART.findall(challenge)), wanted, base, context)
        status, _, _ = _answer("HEAD", address, context, f"Bearer {token}" if token else "")
    if status == 200:
        return THERE, ""
    if status in (401, 403):
        return REFUSED, f"HTTP {status}"
    return (ABSENT if status == 404 else TROUBLE), f"HTTP {status}"


def _token(challenge: dict[str, str], wanted: Reference, base: str, context: ssl.SSLContext) -> str:
    """What anybody gets from whom the registry names; "" for none."""
    realm = challenge.get("realm", "")
    if not realm.startswith(("https://", f"{base.partition(':')[0]}://")):
        return ""
    query = {"scope": challenge.get("scope") or f"repository:{wanted.repository}:pull"}
    if "service" in challenge:
        query["service"] = challenge["service"]
    status, _, body = _answer("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}", context)
    if status != 200:
        return ""
    told = json.loads(body)
    return str(told.get("token") or told.get("access_token") or "")


def _answer(method: str, address: str, context: ssl.SSLContext, authorization: str = "") -> tuple[int, Message, bytes]:
    """Status, headers and body. No proxy: the engine uses its own, and none of the account's."""
    import urllib.error
    import urllib.request

    headers = {"Accept": ", ".join(_FORMS), **({"Authorization": authorization} if authorization else {})}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    asked = urllib.request.Request(address, method=method, headers=headers)  # noqa: S310 - http or https: see above
    try:
        with opener.open(asked, timeout=LIMIT_S) as answer:
            return answer.status, answer.headers, answer.read(1024 * 1024)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, b""
    except urllib.error.URLError as error:
        if isinstance(error.reason, OSError):
            raise error.reason from error
        raise OSError(str(error.reason)) from error


def _engine_sees(image: str) -> bool:
    """Whether the engine finds it, if it runs."""
    from hubfleet.agent.docker import socket_path

    try:
        unixhttp.request(socket_path(), "GET", f"/distribution/{image}/json", timeout=ENGINE_LIMIT_S)
    except (OSError, ValueError, HubfleetError):
        return False
    return True
