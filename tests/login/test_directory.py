"""Logins with the password of a directory (LDAP), on a real hub and a real directory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from harness import RunningHub, await_that
from visitors import Visitor, log_of, words

import needs
from directories import BASE, GROUPS, HUB, Accounts, password

pytestmark = [needs.command("slapd")]
PEOPLE = ["Ada", "ben", "cem", "dan", "eve", "a*b"]


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    with tempfile.TemporaryDirectory(prefix="hf-ldap-", dir="/tmp") as place:
        one = Accounts(Path(place), PEOPLE, {"physics": ["Ada", "ben"], "chemistry": ["cem", "dan"]})
        one.start()
        yield one
        one.stop()


def settings(accounts: Accounts, *, template: bool = False) -> str:
    where = f"template: 'uid={{username}},{BASE}'" if template else f"base: '{BASE}', bind: '{HUB}'"
    return (
        f"login:\n  ldap: {{url: '{accounts.url}', {where}, groups: '{GROUPS}'}}\n"
        "  allow: {groups: [Physics], users: [eve, 'a*b']}\n  recheck: 1s\n"
    )


def keep(hub: RunningHub, secret: str) -> None:
    file = hub.folder / "hubfleet.secrets.yaml"
    file.write_text(f"ldap_password: {secret}\n")
    file.chmod(0o600)


@pytest.fixture(scope="module")
def running_hub(one_hub: RunningHub, accounts: Accounts) -> RunningHub:
    one_hub.write(settings(accounts))
    keep(one_hub, "canary-ldap")
    one_hub.told = one_hub.up()
    return one_hub


@pytest.fixture
def hub(running_hub: RunningHub, hub_logs: list[Path]) -> RunningHub:
    hub_logs.append(running_hub.logs)
    running_hub.await_answer()
    return running_hub


def enter(hub: RunningHub, name: str, word: str | None = None) -> tuple[Visitor, requests.Response]:
    """Type a name and a password."""
    somebody = Visitor(hub, name)
    somebody.password = password(name) if word is None else word
    return somebody, somebody.log_in()


def test_a_name_and_its_password(hub: RunningHub, accounts: Accounts) -> None:
    page = requests.get(f"{hub.url}/hub/login", timeout=10)
    assert "Your account is that of 127.0.0.1." in words(page)
    assert "Sign up" not in page.text
    ben, answer = enter(hub, "ben")
    assert answer.status_code == 302
    assert ben.inside
    assert "Change password" not in ben.session.get(f"{hub.url}/hub/home").text
    assert "People log in with their password of 127.0.0.1" in hub.told


@pytest.mark.parametrize("word", ["", "wrong", password("cem"), "canary-ldap"])
def test_a_wrong_password(word: str, hub: RunningHub) -> None:
    """An empty one above all, which a directory takes from nobody in particular."""
    ben, answer = enter(hub, "ben", word)
    assert answer.status_code == 403
    assert "Invalid username or password" in words(answer)
    assert not ben.inside


def test_the_name_is_as_the_directory_writes_it(hub: RunningHub) -> None:
    for typed in ("ADA", "ada", " Ada "):
        somebody, answer = enter(hub, "ada", password("ada"))
        somebody.name = typed
        assert answer.status_code == 302
    found = hub.run("users", "--json").stdout
    assert found.count('"name": "ada"') == 1


@pytest.mark.parametrize("name", ["*", "b*", "ben)(uid=*", "ada)(|(uid=*", "uid=ben", "x,ou=y"])
def test_a_name_is_nothing_but_a_name(name: str, hub: RunningHub) -> None:
    """Neither a pattern nor a part of a question: the password is right for somebody else, or none."""
    for word in (password("ben"), password("ada")):
        somebody, answer = enter(hub, name, word)
        assert answer.status_code == 403, words(answer)
        assert not somebody.inside


def test_a_name_with_letters_that_mean_something_in_questions(hub: RunningHub) -> None:
    somebody, answer = enter(hub, "a*b")
    assert answer.status_code == 302
    assert somebody.inside


def test_who_is_in_no_group_of_the_rules(hub: RunningHub) -> None:
    _, answer = enter(hub, "cem")
    assert answer.status_code == 403
    assert "You may not enter: cem is not on this hub's list, nor in a group that is." in words(answer)
    assert enter(hub, "eve")[1].status_code == 302


def test_many_wrong_passwords(hub: RunningHub) -> None:
    for _ in range(10):
        assert enter(hub, "dan", "wrong")[1].status_code == 403
    _, answer = enter(hub, "dan")
    assert "Too many wrong passwords. Please wait a minute" in words(answer)
    assert enter(hub, "ben")[1].status_code == 302


def test_who_leaves_the_group_or_the_directory_is_out(hub: RunningHub, accounts: Accounts) -> None:
    ada, _ = enter(hub, "ada", password("ada"))
    eve, _ = enter(hub, "eve")
    assert ada.inside
    assert eve.inside
    accounts.change(f"replace|cn=physics,{GROUPS}|member|uid=ben,{BASE}")
    await_that("ada is out", lambda: not ada.inside)
    accounts.change(f"delete|uid=eve,{BASE}")
    await_that("eve is out", lambda: not eve.inside)
    ben, answer = enter(hub, "ben")
    assert answer.status_code == 302
    assert ben.inside


def test_a_directory_that_is_away(hub: RunningHub, accounts: Accounts) -> None:
    ben, answer = enter(hub, "ben")
    assert answer.status_code == 302
    said = len(log_of(hub))
    accounts.stop()
    try:
        await_that("it was asked", lambda: ben.inside and "What is known of ben holds" in log_of(hub)[said:])
        assert ben.inside
        _, answer = enter(hub, "cem")
        assert "127.0.0.1 does not answer at the moment, so nobody can log in." in words(answer)
        assert answer.status_code == 503
        assert "login.ldap: ldap://127.0.0.1" in hub.run("check").stdout
    finally:
        accounts.start()
    assert enter(hub, "ben")[1].status_code == 302


def test_no_password_is_told(hub: RunningHub) -> None:
    logs = "".join(log.read_text(errors="replace") for log in hub.logs.rglob("*.log*"))
    assert "canary" not in logs
    assert "canary" not in hub.run("plan", "--full").stdout
    for file in (hub.state / "hub").iterdir():
        if file.is_file() and file.name != "hub-secrets.json":
            assert b"canary" not in file.read_bytes(), file.name


def test_by_a_template_for_the_names_of_entries(hub: RunningHub, accounts: Accounts) -> None:
    hub.write(settings(accounts, template=True))
    hub.up()
    ben, answer = enter(hub, "ben")
    assert answer.status_code == 302
    assert ben.inside
    for name, word in (("ben", ""), ("ben", "wrong"), ("ben,ou=people", password("ben"))):
        assert enter(hub, name, word)[1].status_code == 403
