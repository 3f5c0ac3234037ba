"""People who come from a course of a learning platform, on a real hub."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from harness import RunningHub
from visitors import Visitor, log_of, words

from providers import Lms, running


@pytest.fixture(scope="module")
def lms() -> Iterator[Lms]:
    with running(Lms()) as lms:
        lms.add("1", "physics101", email="ada@example.edu")
        lms.add("2", "chemistry", email="ben@example.edu")
        lms.add("3", "chemistry", email="cem@staff.example")
        yield lms


@pytest.fixture(scope="module")
def running_hub(one_hub: RunningHub, lms: Lms) -> RunningHub:
    inner = (
        f"issuer: '{lms.url}', client_id: {lms.client}, authorize_url: '{lms.url}/auth', jwks_url: '{lms.url}/certs', "
        "title: Moodle"
    )
    one_hub.write(f"login:\n  lti: {{{inner}}}\n  allow: {{groups: [physics101], domains: [staff.example]}}\n")
    one_hub.told = one_hub.up()
    return one_hub


@pytest.fixture
def hub(running_hub: RunningHub, hub_logs: list[Path]) -> RunningHub:
    hub_logs.append(running_hub.logs)
    running_hub.await_answer()
    return running_hub


class Student(Visitor):
    """Somebody who follows the link in a course."""

    def begin(self, lms: Lms, **changed: str) -> requests.Response:
        """What the platform's page sends first."""
        form = {
            "iss": lms.url,
            "login_hint": "x",
            "target_link_uri": f"{self.hub.url}/hub/home",
            "client_id": lms.client,
        }
        address = f"{self.hub.url}/hub/lti13/oauth_login"
        return self.session.post(address, data={**form, **changed}, allow_redirects=False, timeout=30)

    def come(self, lms: Lms, sub: str, state: str | None = None, **changed: Any) -> requests.Response:
        """All of it, with claims that are changed."""
        begun = self.begin(lms)
        assert begun.status_code == 302, begun.text
        asked = {key: values[-1] for key, values in parse_qs(urlsplit(begun.headers["Location"]).query).items()}
        assert asked["redirect_uri"] == f"{self.hub.url}/hub/lti13/oauth_callback"
        nonce = changed.pop("nonce", asked["nonce"])
        return self.launch(changed.pop("word", None) or lms.word(sub, nonce, **changed), state or asked["state"])

    def launch(self, word: str, state: str) -> requests.Response:
        address, form = f"{self.hub.url}/hub/lti13/oauth_callback", {"id_token": word, "state": state}
        return self.session.post(address, data=form, allow_redirects=False, timeout=30)


def test_who_comes_from_the_course_is_let_in(hub: RunningHub, lms: Lms) -> None:
    page = requests.get(f"{hub.url}/hub/login", timeout=10)
    assert "Please open this hub from your course in Moodle" in words(page)
    assert f"log-ins begin at {hub.url}/hub/lti13/oauth_login and end at {hub.url}/hub/lti13/oauth_callback" in hub.told
    ada = Student(hub, "ada@example.edu")
    answer = ada.come(lms, "1")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/hub/home"
    assert ada.inside
    assert "Moodle shows its keys; its log-ins have to end at" in hub.run("check").stdout


def test_who_comes_from_another_course_is_let_in_by_another_rule_only(hub: RunningHub, lms: Lms) -> None:
    refused = Student(hub, "ben@example.edu").come(lms, "2")
    assert refused.status_code == 403
    assert "ben@example.edu is not on this hub's list, nor in a group that is" in words(refused)
    assert Student(hub, "cem@staff.example").come(lms, "3").status_code == 302


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "another"},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"iat": 1},
        {"https://purl.imsglobal.org/spec/lti/claim/version": "1.1"},
        {"https://purl.imsglobal.org/spec/lti/claim/deployment_id": None},
    ],
)
def test_a_word_that_does_not_hold(changed: dict[str, Any], hub: RunningHub, lms: Lms) -> None:
    ada = Student(hub, "ada@example.edu")
    answer = ada.come(lms, "1", **changed)
    assert answer.status_code == 400
    assert "What Moodle said of you is not to be trusted, or is too old." in words(answer)
    assert not ada.inside


def test_a_word_that_the_platform_did_not_sign(hub: RunningHub, lms: Lms) -> None:
    claims = jwt.decode(lms.word("1", "n"), options={"verify_signature": False})
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for key, algorithm in ((other, "RS256"), (None, "none"), ("secret" * 8, "HS256")):
        ada = Student(hub, "ada@example.edu")
        asked = parse_qs(urlsplit(ada.begin(lms).headers["Location"]).query)
        claims |= {"nonce": asked["nonce"][0], "exp": int(time.time()) + 300}
        answer = ada.launch(jwt.encode(claims, key, algorithm, headers={"kid": "1"}), asked["state"][0])
        assert answer.status_code == 400
        assert not ada.inside


def test_a_word_of_another_log_in(hub: RunningHub, lms: Lms) -> None:
    ada, ben = Student(hub, "ada@example.edu"), Student(hub, "ben")
    state = parse_qs(urlsplit(ben.begin(lms).headers["Location"]).query)["state"][0]
    for answer in (ada.come(lms, "1", nonce="0" * 64), ada.come(lms, "1", state=state)):
        assert answer.status_code == 400
        assert "This log-in was not begun in this browser" in words(answer)
    assert ada.launch(lms.word("1", "n"), "s").status_code == 400
    assert not ada.inside


def test_another_platform(hub: RunningHub, lms: Lms) -> None:
    assert Student(hub, "ada").begin(lms, iss="https://evil.example").status_code == 400


@pytest.mark.parametrize("name", ["email", "username"])
def test_nobody_comes_in_by_a_form(name: str, hub: RunningHub) -> None:
    """A platform's word has the same keys as a form can have, and is signed."""
    course = "https://purl.imsglobal.org/spec/lti/claim/context"
    fields = {"sub": "1", course: "physics101", "username": "x", "password": "x", name: "ada@example.edu"}
    ada = Student(hub, "ada@example.edu")
    assert ada.form("login", fields).status_code == 403
    assert not ada.inside


def test_a_platform_that_tells_no_name_or_is_away(hub: RunningHub, lms: Lms) -> None:
    assert "Moodle did not tell your user name" in words(Student(hub, "x").come(lms, "1", email=None))
    lms.instead = (503, {}, b"")
    try:
        away = Student(hub, "x").come(lms, "1")
        assert away.status_code == 503
        assert "Moodle does not answer at the moment" in words(away)
    finally:
        lms.instead = None


def test_no_word_of_the_platform_is_in_the_log(hub: RunningHub, lms: Lms) -> None:
    assert not re.search(r"eyJ[\w-]+\.eyJ", log_of(hub))
