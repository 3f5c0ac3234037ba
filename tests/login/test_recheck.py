"""What a provider tells anew of people who are logged in, takes back, or cannot be asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from harness import RunningHub, await_that
from places import BUTTON, Place
from playwright.sync_api import expect
from visitors import Visitor, await_log, callback, log_of, words
from windows import Window

import needs
from providers import OpenId, running

RULES = "  allow: {groups: [physics]}\n  recheck: 1s\n"


@pytest.fixture(scope="module")
def checked(one_hub: RunningHub) -> Iterator[Place]:
    """A hub that asks its provider every second; tokens last two seconds, and can be renewed."""
    with running(OpenId(token_lasts=timedelta(seconds=2))) as provider:
        client, secret = provider.register(callback(one_hub))
        place = Place(one_hub, provider, client, secret)
        place.set(RULES)
        one_hub.up()
        yield place


@pytest.fixture
def place(checked: Place, hub_logs: list[Path]) -> Place:
    hub_logs.append(checked.hub.logs)
    checked.hub.await_answer()
    return checked


def entered(place: Place, name: str) -> Visitor:
    place.provider.add(f"s-{name}", preferred_username=name, groups=["physics"])
    somebody = place.visitor(name)
    assert somebody.enter(place.provider, f"s-{name}").status_code == 302
    return somebody


def test_whoever_leaves_the_group_at_the_provider_is_out_and_the_server_stopped(place: Place) -> None:
    ada, ben = entered(place, "ada"), entered(place, "ben")
    assert ada.start()[-1].get("ready")
    said = len(log_of(place.hub))
    place.provider.add("s-ada", preferred_username="ada", groups=["chemistry"])
    await_that("ada is out", lambda: not ada.inside)
    await_log(place.hub, "Server '' of ada was stopped", said)
    assert ben.inside


def test_a_token_is_renewed_when_it_is_over(place: Place) -> None:
    cem = entered(place, "cem")
    before = len(log_of(place.hub))
    await_that("the first token is refused", lambda: cem.inside and "answered 401 to GET" in log_of(place.hub)[before:])
    place.provider.add("s-cem", preferred_username="cem", groups=["chemistry"])
    await_that("cem is out, as the provider told for another token", lambda: not cem.inside)
    assert "cem has to log in again" not in log_of(place.hub)[before:]


@needs.command("chromium")
def test_in_the_browser_nobody_notices_that_a_token_is_renewed(place: Place, mine: Window) -> None:
    page = place.come_in(mine, "fred", "/hub/home", groups=["physics"])
    page.wait_for_url("**/hub/home")

    def refused() -> bool:
        mine.open("/hub/home")
        expect(page.get_by_text("fred", exact=True).first).to_be_visible()
        return "answered 401 to GET" in log_of(place.hub)[before:]

    before = len(log_of(place.hub))
    await_that("the first token is refused", refused)
    mine.open("/hub/home")
    expect(page.get_by_text("fred", exact=True).first).to_be_visible()
    place.provider.add("s-fred", preferred_username="fred", groups=["chemistry"])
    await_that(
        "fred is out, as the provider told for another token", lambda: "fred" not in mine.open("/hub/home").content()
    )
    expect(page.get_by_role("button", name=BUTTON)).to_be_visible()
    mine.picture("ended-provider")


def test_whose_token_is_taken_back_has_to_log_in_again(place: Place) -> None:
    dan = entered(place, "dan")
    place.provider.revoke("s-dan")
    await_that("dan is out", lambda: not dan.inside)
    assert dan.api("GET", "/user").status_code == 403
    assert dan.enter(place.provider, "s-dan").status_code == 302
    assert dan.inside


def test_a_provider_that_is_away_disturbs_nobody_who_is_logged_in(place: Place) -> None:
    eve = entered(place, "eve")
    said = len(log_of(place.hub))
    place.provider.stop()
    try:
        await_that("it was asked", lambda: eve.inside and "What is known of eve holds" in log_of(place.hub)[said:])
        assert eve.inside
        assert eve.start()[-1].get("ready")
        place.hub.run("down", "--yes")
        place.hub.up()
        assert eve.inside
        assert eve.api("GET", "/user").status_code == 200
        answer = Visitor(place.hub, "fay").session.get(f"{place.hub.url}/hub/oauth_login", allow_redirects=False)
        assert answer.status_code == 503
        assert "Example University does not answer at the moment, so nobody can log in." in words(answer)
        assert "Not right now" in words(answer)
    finally:
        place.provider.start()
    assert entered(place, "fay").inside


def test_what_is_kept_of_people_is_encrypted_and_no_secret_is_told(place: Place) -> None:
    gus = entered(place, "gus")
    assert gus.inside
    files = [place.hub.state / "hub" / name for name in ("jupyterhub.sqlite", "jupyterhub.sqlite-wal")]
    kept = b"".join(file.read_bytes() for file in files if file.exists())
    assert b"jupyterhub-user" in kept or b"gus" in kept
    assert b"access_token" not in kept
    assert b"preferred_username" not in kept
    everything = "".join(log.read_text(errors="replace") for log in place.hub.logs.rglob("*.log*"))
    assert place.secret not in everything
    assert "access_token" not in everything
    assert "refresh_token=" not in everything


def test_only_their_own_password_lets_people_of_a_load_test_in(place: Place) -> None:
    token = {"Authorization": f"token {place.hub.operator_token()}"}
    address = f"{place.hub.url}/hub/api/hubfleet/loadtest"
    made = requests.post(address, json={"people": 1, "seconds": 60}, headers=token, timeout=30)
    [person] = made.json()["people"]
    try:
        for word, status in (("", 403), ("wrong", 403), (person["password"], 302)):
            somebody = place.visitor(person["name"])
            assert somebody.form("login", {"username": person["name"], "password": word}).status_code == status
            assert somebody.inside == (status == 302)
        nobody = place.visitor("ada")
        assert nobody.form("login", {"username": "ada", "password": person["password"]}).status_code == 403
    finally:
        requests.delete(f"{place.hub.url}/hub/api/users/{person['name']}", headers=token, timeout=30).raise_for_status()
        requests.delete(address, headers=token, timeout=30).raise_for_status()


def test_people_of_a_load_test_come_in_by_their_password(place: Place) -> None:
    """The command plays them on a hub of ours, as ever; nobody else comes in that way."""
    arguments = ("--people", "2", "--idle", "1s", "--disturb-people", "--json")
    done = place.hub.run("loadtest", *arguments, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["failures"] == []
    names = [entry["name"] for entry in json.loads(place.hub.run("users", "--json").stdout)["users"]]
    assert not [name for name in names if name.startswith("loadtest-")]
