"""The key of a service account, what is asked with it, and what Google's refusals are said to mean."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hubfleet.googlegroups import SCOPE, ServiceKey, busy, question, refusal
from providers import Google

ADMIN = "admin@example.edu"
OTHER_KIND = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def google() -> Google:
    return Google()


def test_what_is_asked_with_a_key(google: Google) -> None:
    key = ServiceKey.from_text(google.key_file())
    now = time.time()
    form = {
        name: values[0] for name, values in parse_qs(key.asking(ADMIN, "https://a.example/token", now).decode()).items()
    }
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    head = jwt.get_unverified_header(form["assertion"])
    assert (head["alg"], head["kid"]) == ("RS256", "canary-key-id")
    public, address = google.key.public_key(), "https://a.example/token"
    told = jwt.decode(form["assertion"], public, algorithms=["RS256"], audience=address, issuer=google.account)
    assert (told["sub"], told["scope"], told["iat"], told["exp"]) == (ADMIN, SCOPE, int(now), int(now) + 600)


def test_an_address_is_a_value_and_nothing_else() -> None:
    asked = question("https://a.example/groups", "a+b&userKey=x@example.edu", "p=2")
    assert asked == "https://a.example/groups?userKey=a%2Bb%26userKey%3Dx%40example.edu&maxResults=200&pageToken=p%3D2"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"type": "authorized_user"}, "is not of a service account"),
        ({"client_email": ""}, "has no client_email"),
        ({"client_id": 104729}, "has no client_id"),
        ({"private_key": None}, "has no private_key"),
        ({"private_key": "canary"}, "has a private_key that is not an RSA key in PEM form"),
        ({"private_key": OTHER_KIND.decode()}, "has a private_key that is not an RSA key in PEM form"),
        ({"token_uri": "http://canary.example/token"}, "has a token_uri that is not an https address"),
    ],
)
def test_keys_that_are_none(changed: dict[str, Any], said: str, google: Google) -> None:
    with pytest.raises(ValueError, match=said) as error:
        ServiceKey.from_text(google.key_file(**changed))
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("text", ["canary", "[]", '"canary"', "{"])
def test_texts_that_are_no_keys(text: str) -> None:
    with pytest.raises(ValueError, match="is not") as error:
        ServiceKey.from_text(text)
    assert "canary" not in str(error.value)


def test_a_key_is_not_shown(google: Google) -> None:
    text = google.key_file()
    shown = repr(ServiceKey.from_text(text))
    assert google.account in shown
    assert not [line for line in json.loads(text)["private_key"].splitlines() if line in shown]


def refused(reason: str, status: int = 403) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"code": status, "message": "canary words", "errors": [{"reason": reason}]}}


def denied(reason: str) -> tuple[int, dict[str, Any]]:
    return 403, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "", "details": [{"reason": reason}]}}


def grant(words: str) -> tuple[int, dict[str, Any]]:
    return 400, {"error": "invalid_grant", "error_description": words}


DELEGATION = "Domain-wide delegation: client id 104729, scope https://www.googleapis.com/auth/admin.directory.group.rea"


@pytest.mark.parametrize(
    ("answered", "said"),
    [
        ((401, {"error": "unauthorized_client"}), DELEGATION),
        ((403, {"error": "access_denied"}), DELEGATION),
        (refused("insufficientPermissions"), DELEGATION),
        (denied("ACCESS_TOKEN_SCOPE_INSUFFICIENT"), DELEGATION),
        (refused("accessNotConfigured"), "project project-1, APIs & Services: enable Admin SDK API"),
        (denied("SERVICE_DISABLED"), "project project-1, APIs & Services: enable Admin SDK API"),
        (refused("forbidden"), f"{ADMIN} may not see who is in which group. Try: "),
        ((403, {}), f"{ADMIN} may not see who is in which group. Try: "),
        (grant("Invalid email or User ID"), f"Google knows no administrator {ADMIN}. Try: "),
        (grant("Invalid JWT Signature."), "make another there, and put it in place of the secret google_key"),
        (grant("Invalid grant: account not found"), "make another there"),
        ((401, {"error": "invalid_client"}), "make another there"),
        (grant("Invalid JWT: Token must be a short-lived token (60 minutes)"), "Try: timedatectl"),
        (refused("userRateLimitExceeded"), "Google has been asked too much for now"),
        ((429, {}), "Google has been asked too much for now"),
        (refused("badRequest", 400), "Google answered 400: canary words"),
        ((400, {"error": "odd", "error_description": "it\nis\x1b[0m so"}), "Google answered 400: itis[0m so"),
        ((404, {}), "Google answered 404: "),
    ],
)
def test_what_a_refusal_means(answered: tuple[int, dict[str, Any]], said: str, google: Google) -> None:
    told = refusal(*answered, ServiceKey.from_text(google.key_file()), ADMIN)
    assert said in told
    assert busy(*answered) == ("too much" in told)
