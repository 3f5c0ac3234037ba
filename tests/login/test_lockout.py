"""Whom a change of the rules locks out is told before it is made, and also where no hub runs that could be asked."""

from __future__ import annotations

from harness import RunningHub

LOST = "could not log in any more: "


def passwords(hub: RunningHub, more: str = "") -> None:
    hub.write(f"login: {{password: file, admins: [profx]{more}}}\n")


def plan(hub: RunningHub) -> str:
    return hub.run("plan").stdout


def test_names_on_the_list_of_a_hub_with_passwords(one_hub: RunningHub) -> None:
    passwords(one_hub, ", allow: {users: [ada, ben, cem]}")
    one_hub.up()
    word = one_hub.password("class_password")
    ben = one_hub.person("ben")
    assert ben.sign_up(word).status_code == 200
    assert ben.log_in().status_code == 302
    assert "could not log in" not in plan(one_hub)
    assert ben.start()[-1]["ready"]
    passwords(one_hub, ", allow: {users: [ada]}")
    said = plan(one_hub)
    assert f"hubfleet.yaml:3: {LOST}ben, cem\n" in said
    assert "running servers of these would be left (hubfleet users block NAME stops them): ben\n" in said
    one_hub.run("users", "block", "ben")
    assert f"{LOST}cem\n" in plan(one_hub), "ben is out already"
    passwords(one_hub)
    assert "could not log in" not in plan(one_hub), "more people than before"
    one_hub.run("down", "--yes")
    passwords(one_hub, ", allow: {users: [ada]}")
    said = plan(one_hub)
    assert f"{LOST}ben, cem\n" in said


def test_a_list_where_there_was_none(one_hub: RunningHub) -> None:
    passwords(one_hub)
    one_hub.up()
    dora, word = one_hub.person("dora"), one_hub.password("class_password")
    assert dora.sign_up(word).status_code == 200
    passwords(one_hub, ", allow: {users: [ada]}")
    said = plan(one_hub)
    assert "dora" in said.partition(LOST)[2].partition("\n")[0].split(", ")
