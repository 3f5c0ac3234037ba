"""Who may enter and what an admin may do, without a browser: sign-up, approval, blocking, names, the operator role."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pytest
import requests
from harness import APPROVAL, PASSWORD, Person, RunningHub, await_that

from hubfleet.unixhttp import request

CLASS = "login: {password: file, admins: [admin, second]%s}\nstorage: {homes: none}\n"
APPROVAL_WITH = APPROVAL.replace("[admin]", "[admin]%s")


def configure(hub: RunningHub, settings: str) -> None:
    if hub.settings != settings:
        hub.write(settings)
        hub.up()
    hub.await_answer()


def newcomer(hub: RunningHub, word: str = "new") -> Person:
    """Somebody whose name nobody has had yet."""
    return Person(hub, f"{word}-{uuid.uuid4().hex[:8]}", PASSWORD)


def listed(hub: RunningHub) -> dict[str, bool]:
    """What `hubfleet users` says: name -> may enter."""
    return {entry["name"]: entry["approved"] for entry in json.loads(hub.run("users", "--json").stdout)["users"]}


# -- who may enter ----------------------------------------------------------------------------------------------------


def test_wrong_class_password_signs_nobody_up(hub: RunningHub) -> None:
    person = newcomer(hub)
    for wrong in (None, "", "wrong", hub.password("class_password").upper()):
        answer = person.sign_up(wrong)
        assert answer.status_code == 403
        assert "That is not the class password" in answer.text
    assert person.log_in().status_code == 403
    assert person.name not in listed(hub)
    assert person.sign_up(hub.password("class_password")).status_code == 200
    assert person.log_in().status_code == 302


def test_a_newcomer_waits_for_approval_and_is_told_so(approval_hub: RunningHub) -> None:
    for approve in ("page", "command"):
        person = newcomer(approval_hub)
        assert "has to approve you" in person.sign_up().text
        answer = person.log_in()
        assert answer.status_code == 403
        assert "an administrator has to approve you first" in answer.text
        assert listed(approval_hub)[person.name] is False
        if approve == "page":
            assert approval_hub.admin().form("people", {"name": person.name, "action": "approve"}).status_code == 302
        else:
            approval_hub.run("users", "approve", person.name)
        assert person.log_in().status_code == 302
        assert listed(approval_hub)[person.name] is True


def test_a_place_on_the_list_is_no_approval(approval_hub: RunningHub) -> None:
    expected, stranger = newcomer(approval_hub), newcomer(approval_hub)
    configure(approval_hub, APPROVAL_WITH % f", allow: {{users: [{expected.name}]}}")
    assert "not on this hub&#39;s list" in stranger.sign_up().text
    assert stranger.name not in listed(approval_hub)
    assert "has to approve you" in expected.sign_up().text
    assert expected.log_in().status_code == 403
    approval_hub.run("users", "approve", expected.name)
    assert expected.log_in().status_code == 302


def test_who_is_taken_off_the_list_is_refused(approval_hub: RunningHub) -> None:
    kept, removed = newcomer(approval_hub), newcomer(approval_hub)
    configure(approval_hub, CLASS % f", allow: {{users: [{kept.name}, {removed.name}]}}")
    class_password = approval_hub.password("class_password")
    for person in (kept, removed):
        assert person.sign_up(class_password).status_code == 200
        assert person.log_in().status_code == 302
        assert person.start()[-1]["ready"]
    approval_hub.write(CLASS % f", allow: {{users: [{kept.name}]}}")
    told = approval_hub.up()
    assert "It keeps running. See: hubfleet status" in told
    approval_hub.await_answer()
    assert kept.api("GET", "/user").status_code == 200
    assert kept.log_in().status_code == 302
    # Neither the session, nor the token, nor the password is good for anything now.
    page = removed.session.get(f"{approval_hub.url}/hub/home", allow_redirects=False)
    assert (page.status_code, page.headers["Location"].partition("?")[0]) == (302, "/hub/login")
    assert removed.api("GET", "/user").status_code == 403
    assert removed.api("POST", f"/users/{removed.name}/server", json={}).status_code == 403
    answer = removed.log_in()
    assert answer.status_code == 403
    assert "your name is not on this hub&#39;s list" in answer.text
    # The server goes on until the operator, who is told of it, stops it.
    assert {entry["user"] for entry in approval_hub.status()["servers"]} >= {kept.name, removed.name}
    assert f"{removed.name} (may not enter)" in approval_hub.run("status").stdout
    assert (listed(approval_hub)[kept.name], listed(approval_hub)[removed.name]) == (True, False)
    named = re.findall(r"(\S+) may not enter any more, but has a running server. To stop it: hubfleet (.*)", told)
    assert [name for name, _ in named] == [removed.name]
    approval_hub.run(*named[0][1].split())
    assert {entry["user"] for entry in approval_hub.status()["servers"]} & {kept.name, removed.name} == {kept.name}
    kept.stop()


@pytest.mark.parametrize("way", ["page", "command"])
def test_a_block_takes_effect_at_once(hub: RunningHub, way: str) -> None:
    person = hub.person(newcomer(hub).name)
    assert person.start()[-1]["ready"]
    kernel = person.kernel()
    assert kernel.run("1 + 1") == "2"
    assert person.session.get(f"{hub.url}/hub/home", allow_redirects=False).status_code == 200

    if way == "page":
        assert hub.admin().form("people", {"name": person.name, "action": "block"}).status_code == 302
    else:
        hub.run("users", "block", person.name)

    assert person.name not in [server["user"] for server in hub.status()["servers"]]
    assert person.api("GET", "/user").status_code == 403
    assert person.session.get(f"{hub.url}/hub/home", allow_redirects=False).status_code == 302
    assert person.jupyter("GET", "/api/kernels", allow_redirects=False).status_code in (302, 403, 404)
    assert person.log_in().status_code == 403
    assert listed(hub)[person.name] is False
    hub.run("users", "approve", person.name)
    assert person.log_in().status_code == 302


def test_a_block_catches_a_server_that_is_just_starting(hub: RunningHub) -> None:
    person = hub.person(newcomer(hub).name)
    assert person.api("POST", f"/users/{person.name}/server", json={}).status_code in (201, 202)
    hub.run("users", "block", person.name)
    assert hub.admin().api("GET", f"/users/{person.name}").json()["servers"] == {}
    assert person.name not in [server["user"] for server in hub.status()["servers"]]


def test_a_person_is_told_why_somebody_else_stopped_their_server(hub: RunningHub) -> None:
    """Until the next start, and in words of hubfleet's only."""
    person = hub.person("stopped")
    pages = (f"{hub.url}/hub/home", f"{hub.url}/user/{person.name}/lab")

    def told() -> list[bool]:
        why = "Your server has ended: a &lt;b&gt;reason&lt;/b&gt;."
        return [why in " ".join(person.session.get(page).text.split()) for page in pages]

    assert person.start()[-1]["ready"]
    target = f"/hub/api/users/{person.name}/server"
    request(hub.state / "run/hub/hub.sock", "DELETE", target, {"why": "a <b>reason</b>."}, hub.operator_token())
    await_that("it is stopped", lambda: not person.servers())
    assert told() == [True, True]
    assert person.start()[-1]["ready"]
    assert told()[0] is False
    assert person.api("DELETE", f"/users/{person.name}/server", json={"why": "a <b>reason</b>."}).status_code < 300
    await_that("it is stopped", lambda: not person.servers())
    assert told() == [False, False], "who stops their own server knows why"


def test_nobody_blocks_themselves(hub: RunningHub) -> None:
    admin = hub.admin()
    answer = admin.form("people", {"name": "admin", "action": "block"})
    assert answer.status_code == 400
    assert "You cannot block yourself" in answer.text


def test_guessing_passwords_is_slowed_down(hub: RunningHub) -> None:
    person = hub.person(newcomer(hub).name)
    guesser = Person(hub, person.name, "not-the-password")
    for _ in range(10):
        assert guesser.log_in().status_code == 403
    # From here even the right password has to wait; it is told so, and the operator can help.
    answer = person.log_in()
    assert answer.status_code == 429
    assert "Too many wrong passwords" in answer.text
    person.password = hub.run("users", "reset-password", person.name).stdout.split()[-1]
    assert person.log_in().status_code == 302


def test_a_new_password_replaces_the_old_and_opens_nothing(hub: RunningHub) -> None:
    person = hub.person(newcomer(hub).name)
    old = person.password
    person.password = hub.run("users", "reset-password", person.name).stdout.split()[-1]
    assert person.log_in().status_code == 302
    person.password, new = old, person.password
    assert person.log_in().status_code == 403
    hub.run("users", "block", person.name)
    person.password = hub.run("users", "reset-password", person.name).stdout.split()[-1]
    assert person.password != new
    assert person.log_in().status_code == 403
    unknown = hub.run("users", "reset-password", "nobody-at-all", check=False)
    assert unknown.returncode != 0
    assert "nobody has signed up" in unknown.stderr


def test_people_change_their_own_password(hub: RunningHub) -> None:
    person = hub.person(newcomer(hub).name)
    new = "another-good-one"
    fields = {"old_password": "wrong", "new_password": new, "new_password_confirmation": new}
    assert "incorrect" in person.form("change-password", fields).text
    assert person.form("change-password", {**fields, "old_password": "x" * 100}).status_code == 400
    assert "successfully" in person.form("change-password", {**fields, "old_password": person.password}).text
    assert person.log_in().status_code == 403
    person.password = new
    assert person.log_in().status_code == 302


# -- many at once -----------------------------------------------------------------------------------------------------


def at_once(act: Callable[[Person], requests.Response], people: list[Person]) -> Iterator[requests.Response]:
    """Have all do it at the same time; the answers as they come."""
    with ThreadPoolExecutor(len(people)) as threads:
        yield from (done.result() for done in as_completed([threads.submit(act, person) for person in people]))


def looks_during(hub: RunningHub, act: Callable[[Person], requests.Response], people: list[Person]) -> int:
    """How many times somebody else is answered while all do it at the same time; all must succeed."""
    begun, looks = threading.Event(), 0
    todo = at_once(act, people)

    def everybody() -> set[int]:
        begun.set()
        return {answer.status_code for answer in todo}

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(everybody)
        begun.wait()
        while not done.done():
            assert requests.get(f"{hub.url}/hub/health", timeout=60).status_code == 200
            looks += 1
    assert len(done.result()) == 1
    return looks


def test_a_class_that_signs_up_and_logs_in_leaves_the_hub_to_others(hub: RunningHub) -> None:
    # Fifteen passwords take the hub's loop for four seconds and more, if it checks them itself.
    people, class_password = [newcomer(hub) for _ in range(15)], hub.password("class_password")
    enough = 2 * len(people)
    assert looks_during(hub, lambda person: person.sign_up(class_password), people) > enough
    assert looks_during(hub, Person.log_in, people) > enough
    new = "another-good-one"
    change = {"old_password": PASSWORD, "new_password": new, "new_password_confirmation": new}
    assert looks_during(hub, lambda person: person.form("change-password", change), people) > enough
    assert people[0].log_in().status_code == 403


def test_guesses_sent_at_once_are_no_more_guesses(hub: RunningHub) -> None:
    person = hub.person(newcomer(hub).name)
    guessers = [Person(hub, person.name, f"guess-number-{number}") for number in range(25)]
    codes = [answer.status_code for answer in at_once(Person.log_in, guessers)]
    assert (codes.count(403), codes.count(429)) == (10, 15)


def test_a_name_goes_to_one_of_those_who_want_it_at_once(hub: RunningHub) -> None:
    name, class_password = newcomer(hub).name, hub.password("class_password")
    wanting = [Person(hub, name, f"{PASSWORD}-{number}") for number in range(6)]
    said = [answer.text for answer in at_once(lambda person: person.sign_up(class_password), wanting)]
    assert sum("You are signed up" in text for text in said) == 1
    assert sum("This user name is taken" in text for text in said) == 5
    assert sorted(person.log_in().status_code for person in wanting) == [302, 403, 403, 403, 403, 403]


def test_how_long_a_refusal_takes_does_not_tell_who_has_signed_up(hub: RunningHub) -> None:
    def shortest(name: str) -> float:
        guesser = Person(hub, name, "not-the-password")
        return min(guesser.log_in().elapsed.total_seconds() for _ in range(4))

    known, unknown = shortest(hub.person(newcomer(hub).name).name), shortest(newcomer(hub).name)
    assert 0.5 < unknown / known < 2


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_taken_name_stays_whose_it_is(hub: RunningHub) -> None:
    owner = hub.person(newcomer(hub).name)
    for name in (owner.name, owner.name.upper()):
        thief = Person(hub, name, "thiefs-password")
        assert "This user name is taken" in thief.sign_up(hub.password("class_password")).text
        assert thief.log_in().status_code == 403
    assert owner.log_in().status_code == 302


def test_a_deleted_persons_name_and_home_go_to_nobody(hub: RunningHub) -> None:
    owner = hub.person(newcomer(hub).name)
    assert owner.start()[-1]["ready"]
    assert owner.kernel().run("open('diary.txt', 'w').write('mine')") == "4"
    admin = hub.admin()
    assert admin.api("DELETE", f"/users/{owner.name}").status_code == 204
    assert owner.name not in [server["user"] for server in hub.status()["servers"]]
    assert owner.api("GET", "/user").status_code == 403
    assert owner.log_in().status_code == 403

    thief = Person(hub, owner.name, "thiefs-password")
    assert "This user name is taken" in thief.sign_up(hub.password("class_password")).text
    other = hub.person(newcomer(hub).name)
    for new in (owner.name, f"{owner.name}-2"):
        answer = admin.api("PATCH", f"/users/{other.name}", json={"name": new})
        assert answer.status_code == 400
        assert "Names cannot be changed" in answer.json()["message"]
    # Admins see why the name is there, and can do nothing with it.
    said = {entry["name"]: entry["removed"] for entry in json.loads(hub.run("users", "--json").stdout)["users"]}
    assert (said[owner.name], said[other.name]) == (True, False)
    page = admin.session.get(f"{hub.url}/hub/people").text
    assert f'aria-label="Block {other.name}"' in page
    assert f'aria-label="Approve {owner.name}"' not in page
    assert "removed; the name stays with its files" in page
    # An admin who adds the name again opens nothing either; only the operator of the machine can.
    assert admin.api("POST", f"/users/{owner.name}").status_code == 201
    assert thief.log_in().status_code == 403
    hub.run("users", "approve", owner.name)
    owner.password = hub.run("users", "reset-password", owner.name).stdout.split()[-1]
    assert owner.log_in().status_code == 302
    assert owner.start()[-1]["ready"]
    assert owner.kernel().run("print(open('diary.txt').read())") == "mine\n"
    owner.stop()


def test_somebody_an_admin_added_and_deleted_is_gone_as_well(hub: RunningHub) -> None:
    name, admin = newcomer(hub).name, hub.admin()
    assert admin.api("POST", f"/users/{name}").status_code == 201
    assert admin.api("DELETE", f"/users/{name}").status_code == 204
    late = Person(hub, name, PASSWORD)
    assert "This user name is taken" in late.sign_up(hub.password("class_password")).text


@pytest.mark.parametrize("name", ["Ada.Lovelace@example.edu", "学生", "o'neil+x"])
def test_names_of_all_kinds_get_a_home_and_a_server(hub: RunningHub, name: str) -> None:
    person = Person(hub, name, PASSWORD)
    assert person.sign_up(hub.password("class_password")).status_code == 200
    person.name = name.lower()
    assert person.log_in().status_code == 302
    assert person.start()[-1]["ready"]
    assert person.kernel().run("open('mine.txt', 'w').write('x')") == "1"
    homes = {entry["name"]: entry["home"] for entry in json.loads(hub.run("users", "--json").stdout)["users"]}
    assert (Path(homes[person.name]) / "mine.txt").read_text() == "x"
    assert Path(homes[person.name]).parent == hub.state / "homes"
    person.stop()


@pytest.mark.parametrize("name", ["Ada Lovelace", "a/b", "..", "a,b", "tab\there", "bell\a", "x" * 129, ""])
def test_names_that_cannot_be_are_refused_in_words(hub: RunningHub, name: str) -> None:
    person = Person(hub, name, PASSWORD)
    answer = person.sign_up(hub.password("class_password"))
    assert "Choose a user name without spaces, commas and slashes" in answer.text
    assert name not in listed(hub)


@pytest.mark.parametrize("password", ["short", "password", "ü" * 40])
def test_passwords_that_cannot_be_are_refused_in_words(hub: RunningHub, password: str) -> None:
    person = newcomer(hub)
    person.password = password
    assert "Choose a password of 8 to 72 characters" in person.sign_up(hub.password("class_password")).text
    assert person.name not in listed(hub)
    assert person.log_in().status_code == 403


# -- the operator role ------------------------------------------------------------------------------------------------


def test_an_admin_manages_people_and_servers(hub: RunningHub) -> None:
    admin, name = hub.admin(), newcomer(hub).name
    assert admin.api("POST", "/users", json={"usernames": [name]}).status_code == 201
    assert name in [user["name"] for user in admin.api("GET", "/users", params={"limit": "200"}).json()]
    person = hub.person(name)
    assert admin.api("POST", f"/users/{name}/server", json={}).status_code in (201, 202)
    await_that("the server is ready", lambda: person.servers().get("", {}).get("ready"), 60)
    assert admin.api("DELETE", f"/users/{name}/server").status_code in (202, 204)
    await_that("the server is gone", lambda: not person.servers())
    assert admin.api("DELETE", f"/users/{name}").status_code == 204
    assert name not in [user["name"] for user in admin.api("GET", "/users", params={"limit": "200"}).json()]


def test_an_admin_opens_nobodys_server_and_becomes_nobody(hub: RunningHub) -> None:
    admin, person = hub.admin(), hub.person(newcomer(hub).name)
    assert person.start()[-1]["ready"]
    assert person.kernel().run("open('secret.txt', 'w').write('mine')") == "4"
    theirs = f"{hub.url}/user/{person.name}"
    for target in ("/api/contents/secret.txt", "/files/secret.txt", "/api/kernels", "/api/terminals", "/lab"):
        for way in ("token", "session"):
            if way == "token":
                answer = requests.get(theirs + target, headers=admin.headers, timeout=30)
            else:
                answer = admin.session.get(theirs + target, timeout=30)
            assert answer.status_code == 403, (target, way)
            assert "mine" not in answer.text

    refused = (
        ("POST", f"/users/{person.name}/tokens", {}),
        ("GET", f"/users/{person.name}/tokens", None),
        ("PATCH", f"/users/{person.name}", {"admin": True}),
        ("POST", "/users", {"usernames": ["mighty"], "admin": True}),
        ("POST", f"/users/{newcomer(hub).name}", {"admin": True}),
        ("POST", "/hubfleet/people", {"name": person.name, "action": "reset-password"}),
        ("POST", f"/users/{person.name}/shares", {"scopes": [f"access:servers!user={person.name}"], "user": "admin"}),
        ("POST", f"/share-codes/{person.name}/", {}),
        ("GET", "/proxy", None),
        ("POST", "/shutdown", {}),
        ("POST", "/groups/mighty", {}),
        ("GET", "/services", None),
    )
    for method, target, body in refused:
        answer = admin.api(method, target, json=body)
        assert answer.status_code in (403, 404), (method, target, answer.status_code, answer.text)
    assert admin.api("PATCH", f"/users/{person.name}", json={"name": "somebody-else"}).status_code == 400

    for page in (f"change-password/{person.name}", f"authorize/{person.name}", f"discard/{person.name}", "authorize"):
        answer = admin.session.get(f"{hub.url}/hub/{page}")
        assert answer.status_code == 404, page
    model = admin.api("GET", f"/users/{person.name}").json()
    assert "auth_state" not in model or model["auth_state"] is None
    assert model["servers"][""]["state"].keys() == {"launched", "server_name", "stop_after_idle", "notes"}
    assert not hub.admin().api("GET", "/user").json()["admin"]
    assert person.log_in().status_code == 302
    person.stop()


def test_ordinary_people_manage_nobody(hub: RunningHub) -> None:
    one, other = hub.person(newcomer(hub).name), hub.person(newcomer(hub).name)
    for method, target in (
        ("GET", "/users"),
        ("GET", f"/users/{other.name}"),
        ("POST", f"/users/{other.name}/server"),
        ("DELETE", f"/users/{other.name}"),
        ("GET", "/hubfleet/people"),
        ("POST", "/hubfleet/people"),
    ):
        answer = one.api(method, target, json={"name": other.name, "action": "block"} if method == "POST" else None)
        assert answer.status_code in (403, 404), (method, target)
    assert one.form("people", {"name": other.name, "action": "block"}).status_code == 403
    assert other.log_in().status_code == 302


def test_an_admin_taken_out_of_the_file_is_none(approval_hub: RunningHub) -> None:
    configure(approval_hub, CLASS % "")
    second = approval_hub.admin("second")
    assert second.api("GET", "/users").status_code == 200
    configure(approval_hub, CLASS.replace("admin, second", "admin") % "")
    assert second.api("GET", "/users").status_code == 403
    assert second.api("GET", "/user").json()["roles"] == ["user"]
    assert second.form("people", {"name": "admin", "action": "block"}).status_code == 403
    assert approval_hub.admin().api("GET", "/users").status_code == 200


def test_the_people_page_refuses_a_form_from_elsewhere(hub: RunningHub) -> None:
    admin, person = hub.admin(), hub.person(newcomer(hub).name)
    address, fields = f"{hub.url}/hub/people", {"name": person.name, "action": "block"}
    for data in (fields, {**fields, "_xsrf": "guessed"}):
        answer = admin.session.post(address, data=data, headers={"Sec-Fetch-Mode": "navigate"}, allow_redirects=False)
        assert answer.status_code == 403
    assert admin.session.get(address, params=fields).status_code == 200  # a link changes nothing
    assert person.log_in().status_code == 302
    anybody = requests.get(address, allow_redirects=False, timeout=30)
    assert (anybody.status_code, anybody.headers["Location"].partition("?")[0]) == (302, "/hub/login")
