"""Groups of a Google Workspace: who comes in by them, who leaves, and what is said while nobody tells of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import RunningHub, await_that
from visitors import Visitor, await_log, callback, configure, log_of, words

from providers import Google, running

GROUP = "physics-101@example.edu"
RULES = f"""\
  allow: {{groups: [Physics-101@example.edu], users: [eve@example.edu]}}
  recheck: 1s
groups:
  physics: {{provider: [{GROUP}], servers: {{environment: {{COURSE: physics}}}}}}
"""


@pytest.fixture(scope="module")
def google(one_hub: RunningHub) -> Iterator[Google]:
    """A hub that asks every second. Google tells two groups at once, and the one that counts is the third."""
    with running(Google()) as google:
        google.callback, google.page = callback(one_hub), 2
        given = f"client_id: {google.client}, host: '{google.url}', groups: {{administrator: {google.administrator}}}"
        configure(one_hub, f"  google: {{{given}}}\n{RULES}", google.secret)
        key = one_hub.folder / "key.json"
        key.write_text(google.key_file())
        with (one_hub.folder / "hubfleet.secrets.yaml").open("a") as file:
            file.write("google_key: !command cat key.json\n")
        one_hub.up()
        yield google
        key.unlink()


@pytest.fixture
def hub(one_hub: RunningHub, google: Google, hub_logs: list[Path]) -> Iterator[RunningHub]:
    """After each test, no part of the key is told, and no token."""
    hub_logs.append(one_hub.logs)
    one_hub.await_answer()
    yield one_hub
    google.delegated = google.enabled = True
    google.service_tokens.clear()
    told = "".join(log.read_text(errors="replace") for log in one_hub.logs.rglob("*.log*"))
    told += one_hub.run("plan", "--full").stdout
    assert "canary" not in told
    assert not [line for line in json.loads(google.key_file())["private_key"].splitlines() if line in told]
    for file in (one_hub.state / "hub").iterdir():
        if file.is_file() and file.name != "hub-secrets.json":
            assert b"canary" not in file.read_bytes(), file.name


def visitor(hub: RunningHub, google: Google, name: str, *groups: str, hd: str = "example.edu") -> Visitor:
    email = f"{name}@example.edu"
    google.add(email, f"s-{name}", *groups, hd=hd)
    return Visitor(hub, email)


def entered(hub: RunningHub, google: Google, name: str, *groups: str) -> Visitor:
    somebody = visitor(hub, google, name, *groups)
    answer = somebody.enter(google)
    assert answer.status_code == 302, words(answer)
    return somebody


def belongs(hub: RunningHub, person: Visitor) -> bool:
    rows = json.loads(hub.run("explain", person.name, "--json").stdout)["settings"]
    found = {row["setting"]: row["value"] for row in rows}
    assert found.get("in groups.physics") in (None, "yes, by the provider")
    return "in groups.physics" in found


def test_who_is_in_the_group_comes_in(hub: RunningHub, google: Google) -> None:
    ada = entered(hub, google, "ada", "choir@example.edu", "lab@example.edu", GROUP)
    assert belongs(hub, ada)
    refused = visitor(hub, google, "ben", "choir@example.edu", f"x-{GROUP}").enter(google)
    assert refused.status_code == 403
    assert "ben@example.edu is not on this hub's list, nor in a group that is" in words(refused)
    # An account of one's own with an address of the workspace: what the directory says is of another's.
    assert visitor(hub, google, "cem", GROUP, hd="").enter(google).status_code == 403
    assert not belongs(hub, entered(hub, google, "eve"))


def test_who_is_taken_out_of_the_group_is_out(hub: RunningHub, google: Google) -> None:
    fay, gus = entered(hub, google, "fay", GROUP), entered(hub, google, "gus", GROUP)
    eve = entered(hub, google, "eve", GROUP)
    assert fay.start()[-1].get("ready")
    said = len(log_of(hub))
    google.add("fay@example.edu", "s-fay", "lab@example.edu", hd="example.edu")
    google.add("eve@example.edu", "s-eve", hd="example.edu")
    await_that("fay is out, and gus is not", lambda: gus.inside and not fay.inside)
    await_log(hub, "Server '' of fay@example.edu was stopped", said)
    await_that("eve has left it", lambda: eve.inside and not belongs(hub, eve))
    assert gus.inside


def test_an_address_that_is_another_account_s_now_gives_nobody_that_one_s_groups(
    hub: RunningHub, google: Google
) -> None:
    google.lasts = 1  # so that it is the directory that is asked, and not who she is
    try:
        lea = entered(hub, google, "lea", GROUP)
    finally:
        google.lasts = 3600
    google.tokens.clear()
    google.add("lea@example.edu", "s-another", GROUP, hd="example.edu")
    assert lea.inside
    google.groups["s-lea"] = []
    await_that("lea is out", lambda: not lea.inside)


def test_groups_are_asked_for_when_the_person_s_own_token_is_over(hub: RunningHub, google: Google) -> None:
    google.lasts = 1
    try:
        hal, ian = entered(hub, google, "hal", GROUP), entered(hub, google, "ian", GROUP)
    finally:
        google.lasts = 3600
    google.tokens.clear()
    before = len(google.asked)
    await_that("it was asked of ian", lambda: ian.inside and "GET /admin/directory/v1/groups" in google.asked[before:])
    google.add("hal@example.edu", "s-hal", hd="example.edu")
    await_that("hal is out", lambda: not hal.inside)
    assert ian.inside
    assert "GET /oauth2/v1/userinfo" not in google.asked[before:]


def test_while_the_directory_refuses_nobody_new_comes_in_by_a_group(hub: RunningHub, google: Google) -> None:
    jo = entered(hub, google, "jo", GROUP)
    said = len(log_of(hub))
    google.enabled = False
    await_that("it was asked", lambda: jo.inside and "What is known of jo@example.edu holds" in log_of(hub)[said:])
    assert "holds, for now: the Admin SDK API is not enabled in the service account's project." in log_of(hub)[said:]
    assert jo.inside
    refused = visitor(hub, google, "kim", GROUP).enter(google)
    assert refused.status_code == 503
    assert "Google does not tell at the moment in which groups you are" in words(refused)
    assert "The groups of kim@example.edu are not known: the Admin SDK API is not" in log_of(hub)[said:]
    eve = entered(hub, google, "eve", GROUP)  # by name
    assert not belongs(hub, eve)

    google.enabled, google.delegated = True, False
    google.service_tokens.clear()
    assert visitor(hub, google, "kim", GROUP).enter(google).status_code == 503
    await_log(hub, "Domain-wide delegation: client id 104729, scope https://www.googleapis.com/auth/admin.", said)
    google.delegated = True
    assert entered(hub, google, "kim", GROUP).inside
    await_that("eve is known to be in the group", lambda: eve.inside and belongs(hub, eve))
