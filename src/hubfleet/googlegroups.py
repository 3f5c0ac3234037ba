"""Groups of a Google Workspace: the key of the service account that asks for them, and what Google's refusals mean.

The hub asks with it, and `hubfleet check` whether it may ask.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SCOPE = "https://www.googleapis.com/auth/admin.directory.group.readonly"
PAGE = 200
"""How many groups Google tells in one answer at most."""
NOT_FOUND = "notFound"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_WORD_LASTS_S = 600

_NOT_DELEGATED = {
    *("unauthorized_client", "access_denied", "invalid_scope"),
    *("insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
}
_NOT_ENABLED = {"accessNotConfigured", "SERVICE_DISABLED"}
_TOO_MANY = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"}


@dataclass(frozen=True)
class ServiceKey:
    """Of a service account. ``number``: the account's id, by which a workspace knows it. ``address``: where a token is
    asked for. All but the key itself may be told.
    """

    account: str
    number: str
    project: str
    key_id: str
    address: str
    _private: RSAPrivateKey

    @classmethod
    def from_text(cls, text: str) -> ServiceKey:
        """The key in the file that Google gives. Raises ValueError: what is wrong, and nothing that is there."""
        try:
            data = json.loads(text)
        except ValueError:
            raise ValueError("is not JSON") from None
        if not isinstance(data, dict) or data.get("type") != "service_account":
            raise ValueError("is not of a service account")
        for name in ("client_email", "client_id", "project_id", "private_key_id", "token_uri", "private_key"):
            if not isinstance(data.get(name), str) or not data[name]:
                raise ValueError(f"has no {name}")
        if urlsplit(data["token_uri"]).scheme != "https":
            raise ValueError("has a token_uri that is not an https address")
        try:
            private = load_pem_private_key(data["private_key"].encode(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        if not isinstance(private, RSAPrivateKey):
            raise ValueError("has a private_key that is not an RSA key in PEM form")  # noqa: TRY004  # it is in a text
        return cls(
            data["client_email"],
            data["client_id"],
            data["project_id"],
            data["private_key_id"],
            data["token_uri"],
            private,
        )

    def asking(self, administrator: str, address: str, now: float) -> bytes:
        """What is sent to ``address`` for a token in the administrator's name. ``now``: seconds of `time.time`."""
        claims = {
            "iss": self.account,
            "sub": administrator,
            "scope": SCOPE,
            "aud": address,
            "iat": int(now),
            "exp": int(now) + _WORD_LASTS_S,
        }
        head = {"alg": "RS256", "typ": "JWT", "kid": self.key_id}
        text = b".".join(_coded(json.dumps(part).encode()) for part in (head, claims))
        word = b".".join([text, _coded(self._private.sign(text, PKCS1v15(), SHA256()))])
        return urlencode({"grant_type": _GRANT, "assertion": word.decode()}).encode()


def _coded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def question(address: str, email: str, page: str = "") -> str:
    """Where a page of somebody's groups is. ``page``: as the one before names it."""
    return f"{address}?{urlencode({'userKey': email, 'maxResults': PAGE, **({'pageToken': page} if page else {})})}"


def reasons(told: dict[str, Any]) -> set[str]:
    """The codes of an error, in each of the ways in which Google tells them."""
    error = told.get("error")
    if not isinstance(error, dict):
        return {error} if isinstance(error, str) else set()
    parts = [part for key in ("errors", "details") if isinstance(error.get(key), list) for part in error[key]]
    found = [error.get("status"), *(part.get("reason") for part in parts if isinstance(part, dict))]
    return {reason for reason in found if isinstance(reason, str)}


def busy(status: int, told: dict[str, Any]) -> bool:
    """Whether an error says no more than that Google has been asked too much for now."""
    return status == 429 or bool(reasons(told) & _TOO_MANY)


def refusal(status: int, told: dict[str, Any], key: ServiceKey, administrator: str) -> str:
    """What an error means, and what to do. ``told``: the fields of the answer."""
    given, error = reasons(told), told.get("error")
    said = str(told.get("error_description", "")).lower()
    if given & _NOT_DELEGATED:
        return (
            f"the workspace does not let the service account {key.account} ask for groups. Try: admin.google.com, "
            f"Security, API controls, Domain-wide delegation: client id {key.number}, scope {SCOPE}"
        )
    if given & _NOT_ENABLED:
        return (
            f"the Admin SDK API is not enabled in the service account's project. Try: console.cloud.google.com, "
            f"project {key.project}, APIs & Services: enable Admin SDK API"
        )
    if busy(status, told):
        return "Google has been asked too much for now"
    if error == "invalid_client" or (error == "invalid_grant" and ("signature" in said or "not found" in said)):
        return (
            f"Google does not accept the key of {key.account} (any more). "
            "Try: make another there, and put it in place of the secret google_key"
        )
    if error == "invalid_grant" and ("timeframe" in said or "short-lived" in said):
        return "by Google's clock the one of this machine is wrong. Try: timedatectl"
    if error == "invalid_grant":
        return (
            f"Google knows no administrator {administrator}. "
            "Try: login: {google: {groups: {administrator: ...}}}, the whole address"
        )
    if status == 403:
        return (
            f"{administrator} may not see who is in which group. Try: as administrator, one of the workspace that "
            "people are of, whose role lets it read groups"
        )
    words = str(error.get("message", "") if isinstance(error, dict) else told.get("error_description") or error or "")
    return f"Google answered {status}: {''.join(letter for letter in words if letter.isprintable())[:200]}"
