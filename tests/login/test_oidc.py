"""Logins at a provider of OpenID Connect, on a real hub."""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qs, quote, urlencode, urljoin, urlsplit

import pytest
from harness import await_that
from places import RULES, Place
from visitors import Visitor, await_log, log_of, tampered, words


def test_somebody_logs_in_with_the_button(place: Place) -> None:
    place.provider.add("s-ada", preferred_username="ada", email="ada@example.edu")
    ada = place.visitor("ada")
    page = ada.session.get(f"{place.hub.url}/hub/login")
    assert "Log in with Example University" in words(page)
    assert 'type="password"' not in page.text
    asked = parse_qs(urlsplit(ada.go()).query)
    assert asked["redirect_uri"] == [f"{place.hub.url}/hub/oauth_callback"]
    assert asked["code_challenge_method"] == ["S256"]
    assert ada.enter(place.provider, "s-ada").status_code == 302
    assert ada.inside
    assert ada.api("GET", "/user").json()["name"] == "ada"


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("ben", {}),
        ("dana", {}),
        ("gina", {"groups": ["other", "physics"]}),
        ("sam", {"email": "sam@staff.example", "email_verified": True}),
    ],
)
def test_whoever_a_rule_names_is_let_in(name: str, claims: dict[str, object], place: Place) -> None:
    place.provider.add(f"s-{name}", preferred_username=name, **claims)
    somebody = place.visitor(name)
    assert somebody.enter(place.provider, f"s-{name}").status_code == 302
    assert somebody.inside


@pytest.mark.parametrize(
    ("name", "claims", "said"),
    [
        ("nora", {}, "You may not enter: nora is not on this hub's list, nor in a group that is."),
        ("gil", {"groups": "phys"}, "gil is not on this hub's list"),
        ("sue", {"email": "sue@staff.example", "email_verified": False}, "sue is not on this hub's list"),
        ("tim", {"email": "tim@staff.example.evil.example", "email_verified": True}, "tim is not on this hub's list"),
        ("mallory", {"groups": ["physics"]}, "You may not enter: mallory is blocked on this hub."),
    ],
)
def test_whoever_no_rule_names_is_told_so(name: str, claims: dict[str, object], said: str, place: Place) -> None:
    place.provider.add(f"s-{name}", preferred_username=name, **claims)
    somebody = place.visitor(name)
    answer = somebody.enter(place.provider, f"s-{name}")
    assert answer.status_code == 403
    assert said in words(answer)
    assert not somebody.inside
    assert name not in [entry["name"] for entry in people(place)]


def people(place: Place) -> list[dict[str, object]]:
    """Everybody, as `hubfleet users` tells it."""
    found: list[dict[str, object]] = json.loads(place.hub.run("users", "--json").stdout)["users"]
    return found


def test_only_whoever_is_named_runs_the_hub(place: Place) -> None:
    place.provider.add("s-profx", preferred_username="ProfX")
    profx = place.visitor("profx")
    assert profx.enter(place.provider, "s-profx").status_code == 302
    assert profx.api("GET", "/users").status_code == 200
    page = profx.session.get(f"{place.hub.url}/hub/people")
    assert "People log in with Example University." in words(page)
    assert "Change password" not in page.text
    place.provider.add("s-admin", preferred_username="admin", groups=["physics"])
    admin = place.visitor("admin")
    assert admin.enter(place.provider, "s-admin").status_code == 302
    assert admin.api("GET", "/users").status_code == 403
    assert admin.session.get(f"{place.hub.url}/hub/people").status_code == 403


def test_two_accounts_whose_names_are_alike(place: Place) -> None:
    place.provider.add("s-cem", preferred_username="cem")
    place.provider.add("s-other", preferred_username="CEM")
    first, second = place.visitor("cem"), place.visitor("cem")
    assert first.enter(place.provider, "s-cem").status_code == 302
    answer = second.enter(place.provider, "s-other")
    assert answer.status_code == 403
    assert "The name cem belongs to another account of Example University here, and so do its files." in words(answer)
    assert not second.inside
    assert first.inside


@pytest.mark.parametrize("name", ["../x", "a/b", "loadtest-0001", "x" * 129, "a\u202eb", ".."])
def test_names_that_nobody_can_have(name: str, place: Place) -> None:
    place.provider.add("s-odd", preferred_username=name, groups=["physics"])
    answer = place.visitor("odd").enter(place.provider, "s-odd")
    assert answer.status_code == 403
    assert "cannot be a user name here" in words(answer)


@pytest.mark.parametrize("claims", [{}, {"preferred_username": ""}, {"preferred_username": ["ada"]}])
def test_a_provider_that_tells_no_name(claims: dict[str, object], place: Place) -> None:
    place.provider.add("s-none", groups=["physics"], **claims)
    answer = place.visitor("none").enter(place.provider, "s-none")
    assert answer.status_code == 500
    assert "Example University did not tell your user name" in words(answer)


def test_nobody_comes_in_by_a_password(place: Place) -> None:
    ada = place.visitor("ada")
    answer = ada.form("login", {"username": "ada", "password": ""})
    assert answer.status_code == 403
    assert not ada.inside


# -- the way there and back --------------------------------------------------------------------------------------------


OTHER_STATE = base64.urlsafe_b64encode(json.dumps({"state_id": "0" * 32}).encode()).decode()
A_LIST = base64.urlsafe_b64encode(b"[1]").decode()


@pytest.mark.parametrize("state", [OTHER_STATE, A_LIST, "", "not base64 \u00e9", "e30="])
def test_a_state_that_was_tampered_with_is_refused(state: str, place: Place) -> None:
    place.provider.add("s-ada", preferred_username="ada")
    ada = place.visitor("ada")
    answer = ada.come_back(tampered(ada.agree(ada.go(), place.provider, "s-ada"), state=state))
    assert answer.status_code == 400
    assert "This log-in was not begun in this browser, or too long ago." in words(answer)
    assert not ada.inside


def test_a_log_in_that_somebody_else_began_is_refused(place: Place) -> None:
    """Otherwise one could be made to work in another's account."""
    place.provider.add("s-ben", preferred_username="ben")
    ben, ada = place.visitor("ben"), place.visitor("ada")
    address = ben.agree(ben.go(), place.provider, "s-ben")
    assert ada.come_back(address).status_code == 400
    ada.go()
    assert ada.come_back(address).status_code == 400
    assert not ada.inside


def test_a_code_is_good_once(place: Place) -> None:
    place.provider.add("s-ada", preferred_username="ada")
    ada = place.visitor("ada")
    address = ada.agree(ada.go(), place.provider, "s-ada")
    code = parse_qs(urlsplit(address).query)["code"][0]
    assert ada.come_back(address).status_code == 302
    again = place.visitor("ada")
    mine = again.agree(again.go(), place.provider, "s-ada")
    answer = again.come_back(tampered(mine, code=code))
    assert answer.status_code == 400
    assert "This log-in took too long, or was used already." in words(answer)
    assert not again.inside


@pytest.mark.parametrize("target", ["//evil.example/x", "https://evil.example/", "/\\evil.example"])
def test_nobody_is_sent_elsewhere_after_the_log_in(target: str, place: Place) -> None:
    place.provider.add("s-ada", preferred_username="ada")
    ada = place.visitor("ada")
    answer = ada.enter(place.provider, "s-ada", target=f"?next={quote(target, safe='')}")
    assert answer.status_code == 302
    there = urlsplit(urljoin(place.hub.url, answer.headers["Location"].replace("\\", "/")))
    assert f"{there.scheme}://{there.netloc}" == place.hub.url


def test_who_says_no_at_the_provider(place: Place) -> None:
    ada = place.visitor("ada")
    address = ada.go()
    back = ada.session.post(address, data={"action": "deny"}, allow_redirects=False).headers["Location"]
    # The provider here leaves the state out, which the others send along.
    state = parse_qs(urlsplit(address).query)["state"][0]
    answer = ada.come_back(tampered(back, state=state))
    assert answer.status_code == 403
    assert "you did not agree to it, or your account may not use this hub" in words(answer)


def test_what_a_stranger_writes_into_an_error_is_not_shown(place: Place) -> None:
    ada = place.visitor("ada")
    state = parse_qs(urlsplit(ada.go()).query)["state"][0]
    query = urlencode({"error": "<b>call", "error_description": "call 555-0199 now", "state": state})
    answer = ada.come_back(f"{place.hub.url}/hub/oauth_callback?{query}")
    assert answer.status_code == 500
    assert "555-0199" not in answer.text
    assert "call" not in words(answer)


# -- while people are logged in ----------------------------------------------------------------------------------------


def entered(place: Place, name: str, **claims: object) -> Visitor:
    place.provider.add(f"s-{name}", preferred_username=name, **claims)
    somebody = place.visitor(name)
    assert somebody.enter(place.provider, f"s-{name}").status_code == 302
    return somebody


def change_list(place: Place, *names: str) -> None:
    (place.hub.folder / "people.txt").write_text("".join(f"{name}\n" for name in names))
    told = place.hub.up()
    assert "restart" not in told


def test_whoever_is_taken_off_the_list_is_out_at_once_and_the_server_stopped(place: Place) -> None:
    change_list(place, "dana", "emil")
    dana, ada = entered(place, "dana"), entered(place, "ada")
    assert dana.start()[-1].get("ready")
    pid, said = hub_pid(place), len(log_of(place.hub))
    change_list(place, "emil")
    await_that("dana is out", lambda: not dana.inside, 5)
    assert dana.api("GET", "/user").status_code == 403
    await_log(place.hub, "Server '' of dana was stopped", said)
    assert dana.enter(place.provider, "s-dana").status_code == 403
    assert ada.inside
    assert ada.api("GET", "/user").status_code == 200
    assert hub_pid(place) == pid
    change_list(place, "dana")
    await_that("dana is in again", lambda: dana.inside, 5)


def test_the_server_of_somebody_taken_off_may_go_on(place: Place) -> None:
    place.set(f"{RULES}  when_removed: keep\n")
    place.hub.up()
    dana = entered(place, "dana")
    assert dana.start()[-1].get("ready")
    change_list(place, "emil")
    await_that("dana is out", lambda: not dana.inside, 5)
    with pytest.raises(AssertionError, match="not within 4 s"):
        await_log_quiet(place, "of dana was stopped", 4)
    change_list(place, "dana")
    await_that("dana is in again, as before", lambda: dana.inside, 5)
    assert "" in dana.servers()
    dana.stop()


def await_log_quiet(place: Place, said: str, limit: float) -> None:
    before = len(log_of(place.hub))
    await_that(f"the hub says {said}", lambda: said in log_of(place.hub)[before:], limit)


def hub_pid(place: Place) -> int:
    found: int = json.loads((place.hub.state / "supervisor" / "status.json").read_text())["processes"]["hub"]["pid"]
    return found


def test_a_provider_that_is_away_disturbs_nobody_who_is_logged_in(place: Place) -> None:
    ivan = entered(place, "ivan", groups=["physics"])
    place.provider.stop()
    try:
        place.hub.run("up", "--yes", "--detach")
        assert ivan.inside
        assert ivan.api("GET", "/user").status_code == 200
        assert ivan.start()[-1].get("ready")
        ivan.stop()
        answer = place.visitor("ben").session.get(f"{place.hub.url}/hub/oauth_login", allow_redirects=False)
        # Its addresses may be known from before: then the browser itself finds that nobody answers there.
        assert answer.status_code in (302, 503)
    finally:
        place.provider.start()
    assert entered(place, "ben").inside


# -- what the operator sees --------------------------------------------------------------------------------------------


def test_a_plan_tells_who_could_not_log_in_any_more(place: Place) -> None:
    ada, gina, dana = entered(place, "ada"), entered(place, "gina", groups=["physics"]), entered(place, "dana")
    assert "could not log in" not in place.hub.run("plan").stdout
    assert gina.start()[-1].get("ready")
    place.set("  admins: [profx]\n  allow: {users: [ada]}\n")
    told = place.hub.run("plan").stdout
    assert "hubfleet.yaml:6: could not log in any more: " in told
    out = told.partition("could not log in any more: ")[2].partition("\n")[0].split(", ")
    assert {"ben", "cem", "dana", "gina"} <= set(out)
    assert not {"ada", "profx", "mallory"} & set(out)
    serving = told.partition("running servers of these would be stopped (login.when_removed: stop): ")[2]
    assert "gina" in serving.partition("\n")[0].split(", ")
    assert all(somebody.inside for somebody in (ada, gina, dana))
    place.set(RULES.replace("block: [mallory]", "block: [mallory, dana]"))
    assert "could not log in any more: dana\n" in place.hub.run("plan").stdout
    place.hub.write("login: {password: file}\n")
    told = place.hub.run("plan").stdout
    assert "people choose their names from now on, and no longer log in with Example University; a home goes to" in told
    place.set(RULES)
    gina.stop()


def test_the_command_line_tells_who_may_enter_and_leaves_that_to_the_file(place: Place) -> None:
    entered(place, "ada")
    found = {entry["name"]: entry["approved"] for entry in people(place)}
    assert found["ada"] is True
    done = place.hub.run("users", "block", "ada", check=False)
    assert done.returncode == 2
    assert "the configuration says who may enter: login.allow and login.block, then hubfleet up" in done.stderr
    told = place.hub.run("explain", "dana").stdout
    assert "may log in" in told
    assert "hubfleet.yaml:6 (login.allow.file)" in told


def test_what_up_tells_of_the_log_in(running_place: Place) -> None:
    back = f"{running_place.hub.url}/hub/oauth_callback"
    assert f"People log in with Example University, which sends them back to {back}" in running_place.hub.told
    assert "assword" not in running_place.hub.told
