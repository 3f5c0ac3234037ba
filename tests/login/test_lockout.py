"""Whom a change of the rules locks out is told before it is made, and also where no hub runs that could be asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import RunningHub
from places import Place
from visitors import callback

from providers import OpenId, running

LOST, UNKNOWN = "could not log in any more: ", "could not log in any more is known only while the hub runs"
RULES = "  admins: [profx]\n  allow: {users: [yan], groups: [physics]}\n"


def passwords(hub: RunningHub, more: str = "") -> None:
    hub.write(f"login: {{password: file, admins: [profx]{more}}}\n")


def plan(hub: RunningHub) -> str:
    return hub.run("plan").stdout


@pytest.fixture(scope="module")
def place(one_hub: RunningHub) -> Iterator[Place]:
    with running(OpenId()) as provider:
        yield Place(one_hub, provider, *provider.register(callback(one_hub)))


def test_names_on_the_list_of_a_hub_with_passwords(one_hub: RunningHub) -> None:
    passwords(one_hub, ", allow: {users: [yan, zac, zed]}")
    one_hub.up()
    word = one_hub.password("class_password")
    zac = one_hub.person("zac")
    assert zac.sign_up(word).status_code == 200
    assert zac.log_in().status_code == 302
    assert "could not log in" not in plan(one_hub)
    assert zac.start()[-1]["ready"]
    passwords(one_hub, ", allow: {users: [yan]}")
    said = plan(one_hub)
    assert f"hubfleet.yaml:3: {LOST}zac, zed\n" in said
    assert "running servers of these would be left (hubfleet users block NAME stops them): zac\n" in said
    one_hub.run("users", "block", "zac")
    assert f"{LOST}zed\n" in plan(one_hub), "zac is out already"
    passwords(one_hub)
    assert "could not log in" not in plan(one_hub), "more people than before"
    one_hub.run("down", "--yes")
    passwords(one_hub, ", allow: {users: [yan]}")
    said = plan(one_hub)
    assert f"{LOST}zac, zed\n" in said
    assert UNKNOWN not in said


def test_a_list_where_there_was_none(one_hub: RunningHub) -> None:
    passwords(one_hub)
    one_hub.up()
    zora, word = one_hub.person("zora"), one_hub.password("class_password")
    assert zora.sign_up(word).status_code == 200
    passwords(one_hub, ", allow: {users: [yan]}")
    said = plan(one_hub)
    assert "zora" in said.partition(LOST)[2].partition("\n")[0].split(", ")
    assert UNKNOWN not in said
    one_hub.run("down", "--yes")
    said = plan(one_hub)
    assert LOST not in said
    assert f"hubfleet.yaml:3: who {UNKNOWN}\n" in said


def test_a_provider_of_a_hub_that_is_stopped(place: Place) -> None:
    place.set(RULES)
    place.hub.up()
    place.provider.add("s-zoe", preferred_username="zoe", groups=["physics"])
    zoe = place.visitor("zoe")
    assert zoe.enter(place.provider, "s-zoe").status_code == 302
    place.set(RULES + "  block: [zoe, yan]\n")
    assert f"{LOST}yan, zoe\n" in plan(place.hub)
    place.hub.run("down", "--yes")
    said = plan(place.hub)
    assert f"{LOST}yan\n" in said
    assert f"who else {UNKNOWN}\n" in said
    place.set(RULES.replace("[physics]", "[chemistry, physics]"))
    assert "could not log in" not in plan(place.hub)
    place.set(RULES.replace("physics", "chemistry"))
    assert f": who {UNKNOWN}\n" in plan(place.hub)
    place.set(RULES.replace("users: [yan]", "users: [zac]"))
    said = plan(place.hub)
    assert f"{LOST}yan\n" in said
    assert UNKNOWN not in said


def test_somebody_of_everybody_who_is_blocked(place: Place) -> None:
    everybody = "  allow: {everybody: true}\n"
    place.set(everybody)
    place.hub.up()
    place.hub.run("down", "--yes")
    place.set(f"{everybody}  block: [zoe]\n")
    assert f"{LOST}zoe\n" in plan(place.hub)
