"""Asks an image's registry whether it has the image: as one who has no account there, or as who is logged in to it."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin

from hubfleet import unixhttp
from hubfleet.errors import ApplyError, HubfleetError

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
THERE, ABSENT, REFUSED, TROUBLE, UNTRUSTED, UNREACHABLE, SEALED = (
    *("there", "absent", "refused", "trouble"),
    *("untrusted", "unreachable", "sealed"),
)
"""What a registry may turn out to be or to say; the last: another program keeps the account it is asked with."""

_FORMS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_NOT_THERE = ("manifest unknown", "name unknown", "repository name not known")
"""What an engine says when the registry does not have it."""
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
    return _each(images, lambda image: _manifest(image, authorities))


def access(images: Iterable[str], authorities: str, *, give: bool) -> dict[str, list[str]]:
    """The same, asked as root is logged in to the registry there: what is not in it may be on its way.

    give: what it does not have is to be given to it, and is `ABSENT` only if it would be taken. An upload is begun for
    that, and called off.
    """
    return _each(images, lambda image: _access(image, authorities, give))


def _each(images: Iterable[str], said: Callable[[str], tuple[str, str]]) -> dict[str, list[str]]:
    late = [UNREACHABLE, f"no answer within {ALL_LIMIT_S:.0f} s"]
    found = dict.fromkeys(images, late)

    def ask(image: str) -> None:
        found[image] = list(said(image))

    threads = [threading.Thread(target=ask, args=(image,), daemon=True) for image in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ALL_LIMIT_S)
    return dict(found)


def _manifest(image: str, authorities: str) -> tuple[str, str]:
    said = _said(Reference.of(image), authorities)
    if said[0] in (UNTRUSTED, UNREACHABLE) and _engine_says(image, {}) == THERE:
        return THERE, ""  # through a mirror or a proxy that only the engine knows
    return said


def _access(image: str, authorities: str, give: bool) -> tuple[str, str]:
    from hubfleet.agent.imagecopy import account, login

    try:
        known = account(image)
    except ApplyError as error:
        return SEALED, str(error)
    said = _said(Reference.of(image), authorities, _basic(*known) if known else "", give)
    if said[0] in (UNTRUSTED, UNREACHABLE) and (seen := _engine_says(image, login(image))):
        said = seen, "as its engine says"
    if said[0] == REFUSED and not known:
        return REFUSED, f"{said[1]}, and root is not logged in to it"
    return said


def _said(wanted: Reference, authorities: str, account: str = "", give: bool = False) -> tuple[str, str]:
    import ssl
    from http.client import HTTPException

    context = _context(wanted, authorities)
    said = UNREACHABLE, ""
    for scheme in ("https", "http") if wanted.loopback else ("https",):
        try:
            said = _asked(f"{scheme}://{wanted.address}", wanted, context, account, give)
            break
        except ssl.SSLCertVerificationError as error:
            said = UNTRUSTED, error.verify_message
            break
        except (OSError, HTTPException, ValueError) as error:
            said = UNREACHABLE, getattr(error, "strerror", None) or str(error) or type(error).__name__
    return said


def _context(wanted: Reference, authorities: str) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context()
    known = [path.read_text() for path in sorted((CERTIFICATES / wanted.registry).glob("*.crt"))]
    for text in (authorities, *known):
        if text:
            context.load_verify_locations(cadata=text)
    return context


def _asked(
    base: str, wanted: Reference, context: ssl.SSLContext, account: str = "", give: bool = False
) -> tuple[str, str]:
    """Raises OSError or HTTPException where nothing answers. ``account``: shown where the registry asks for one."""
    address = f"{base}/v2/{wanted.repository}/manifests/{wanted.version}"
    status, headers, _ = _answer("HEAD", address, context)
    challenge, shown = headers.get("WWW-Authenticate", ""), ""
    if status == 401 and challenge.lower().startswith("bearer "):
        token = _token(dict(_PART.findall(challenge)), wanted, base, context, account, give)
        shown = f"Bearer {token}" if token else ""
        status, _, _ = _answer("HEAD", address, context, shown)
    elif status == 401 and account and challenge.lower().startswith("basic"):
        shown = account
        status, _, _ = _answer("HEAD", address, context, shown)
    if status == 404 and give:
        status = _begun(f"{base}/v2/{wanted.repository}/blobs/uploads/", context, shown)
    if status == 200:
        return THERE, ""
    if status in (401, 403, 405):
        return REFUSED, f"HTTP {status}"
    return (ABSENT if status == 404 else TROUBLE), f"HTTP {status}"


def _begun(address: str, context: ssl.SSLContext, shown: str) -> int:
    """The status with which an upload is refused; 404 where it is taken, which changes nothing: it is called off."""
    status, headers, _ = _answer("POST", address, context, shown)
    if status != 202:
        return status
    place = urljoin(address, headers.get("Location", ""))
    if place.startswith(address):
        _answer("DELETE", place, context, shown)
    return 404


def _basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def _token(
    challenge: dict[str, str], wanted: Reference, base: str, context: ssl.SSLContext, account: str, give: bool
) -> str:
    """What anybody gets from whom the registry names, or who has this account; "" for none."""
    realm = challenge.get("realm", "")
    if not realm.startswith(("https://", f"{base.partition(':')[0]}://")):
        return ""
    if give:
        query = {"scope": f"repository:{wanted.repository}:pull,push,delete"}
    else:
        query = {"scope": challenge.get("scope") or f"repository:{wanted.repository}:pull"}
    if "service" in challenge:
        query["service"] = challenge["service"]
    status, _, body = _answer("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}", context, account)
    if status != 200:
        return ""
    told = json.loads(body)
    return str(told.get("token") or told.get("access_token") or "")


def _answer(method: str, address: str, context: ssl.SSLContext, authorization: str = "") -> tuple[int, Message, bytes]:
    """Status, headers and body. No proxy: the engine uses its own, and none of the account's. Who shows something is
    led to no other place, which would be shown it too."""
    import urllib.error
    import urllib.request

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *words: Any) -> None:
            """Nowhere."""

    headers = {"Accept": ", ".join(_FORMS), **({"Authorization": authorization} if authorization else {})}
    ways = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    opener = urllib.request.build_opener(*ways, *([Stay()] if authorization else []))
    data = b"" if method == "POST" else None
    asked = urllib.request.Request(address, data, headers, method=method)  # noqa: S310 - http or https: see above
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


def _engine_says(image: str, headers: dict[str, str]) -> str:
    """What the engine finds of it, if it runs and gets an answer from the registry; else ""."""
    from hubfleet.agent.docker import socket_path

    try:
        unixhttp.request(
            socket_path(), "GET", f"/distribution/{image}/json", timeout=ENGINE_LIMIT_S, headers=headers or None
        )
    except unixhttp.Refused as refusal:
        if any(words in str(refusal) for words in _NOT_THERE):
            return ABSENT
        return {401: REFUSED, 403: REFUSED, 404: ABSENT}.get(refusal.status, "")
    except (OSError, ValueError, HubfleetError):
        return ""
    return THERE
