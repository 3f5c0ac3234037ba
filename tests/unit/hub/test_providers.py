"""What the hub takes of a provider's answers, and what it tells of them."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.web import HTTPError

from hubfleet.admission import Person, Rules
from hubfleet.hub.providers import admitting, choose
from hubfleet.hub.providers.admitting import Ended, Known
from hubfleet.hub.providers.base import SINCE
from hubfleet.hub.providers.claims import Claims
from hubfleet.hub.providers.directory import MOST_NAMES, PAUSE_S, Ldap
from hubfleet.hub.providers.oidc import Oidc
from hubfleet.hub.providers.tapis import Tapis
from hubfleet.hub.providers.web import Client, Silent, error_of
from hubfleet.hub.providers.words import Words
from providers import Agave, GitHub, Provider, running

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def server() -> Iterator[GitHub]:
    with running(GitHub()) as server:
        yield server


def oidc(folder: Path, issuer: str) -> Oidc:
    told = {
        "provider": f"oidc:{issuer}",
        "title": "Example",
        "callback": "https://hub.example.edu/hub/oauth_callback",
        "issuer": issuer,
        "username_claim": "preferred_username",
        "groups_claim": None,
        "scopes": ["openid"],
        "recheck_s": 300,
        "asks": [],
    }
    return Oidc(
        told=told,
        rules_file=str(folder / "rules.json"),
        claims_file=str(folder / "names.json"),
        test_people_note=str(folder / "load-test.json"),
        oauth_callback_url="https://hub.example.edu/hub/oauth_callback",
    )


def document(issuer: str, **changed: Any) -> bytes:
    names = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
    return json.dumps({"issuer": issuer, **{name: f"{issuer}/{name}" for name in names}, **changed}).encode()


async def test_addresses_are_taken_from_the_issuer_s_own_document(server: GitHub, tmp_path: Path) -> None:
    one = oidc(tmp_path, server.url)
    for wrong in (document("https://evil.example"), document(server.url, token_endpoint=None), b"[]", b"<h1>no</h1>"):
        server.instead = (200, JSON, wrong)
        with pytest.raises(Silent):
            await one.ready()
    server.instead = (200, JSON, document(server.url, token_endpoint_auth_methods_supported=["client_secret_post"]))
    await one.ready()
    assert (one.token_url, one.basic_auth) == (f"{server.url}/token_endpoint", False)


async def test_addresses_hold_while_the_issuer_is_away(server: GitHub, tmp_path: Path) -> None:
    one = oidc(tmp_path, server.url)
    server.instead = (200, JSON, document(server.url))
    await one.ready()
    asked = len(server.asked)
    await one.ready()
    assert len(server.asked) == asked
    one._asked -= 2 * 3600
    server.stop()
    await one.ready()
    assert one.token_url == f"{server.url}/token_endpoint"


async def test_who_asks_waits_for_so_long_and_takes_so_much(server: GitHub) -> None:
    asked = HTTPRequest(f"{server.url}/api/v3/user")
    server.instead = (200, JSON, b"x" * (4 * 1024**2 + 1))
    with pytest.raises(Silent, match="answered more than"):
        await Client().fetch(asked)
    server.instead = (503, JSON, b"{}")
    with pytest.raises(Silent, match="answered 503"):
        await Client().fetch(asked)
    server.stop()
    with pytest.raises(Silent):
        await Client().fetch(asked)
    silent = await asyncio.start_server(lambda *_: asyncio.sleep(30), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    began = time.monotonic()
    with pytest.raises(Silent, match="gave no answer within"):
        await Client(0.2).fetch(HTTPRequest(f"http://127.0.0.1:{port}/"))
    assert time.monotonic() - began < 5
    silent.close()


async def test_a_token_is_not_taken_along_to_another_address(server: GitHub) -> None:
    server.instead = (302, {"Location": f"{server.url}/elsewhere"}, b"")
    with pytest.raises(HTTPClientError):
        await Client().fetch(HTTPRequest(f"{server.url}/api/v3/user", headers={"Authorization": "Bearer x"}))
    assert server.asked == ["GET /api/v3/user"]


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"error": "invalid_grant", "error_description": "Code\nis\x1b[0m old"}, ("invalid_grant", "Code is [0m old")),
        ({"error": {"code": 401, "message": "No", "status": "UNAUTHENTICATED"}}, ("UNAUTHENTICATED", "No")),
        ({"error": "<script>"}, ("unknown", "")),
        ({"message": "Bad credentials"}, ("", "Bad credentials")),
        ({}, ("", "")),
    ],
)
def test_errors_as_providers_tell_them(told: dict[str, Any], found: tuple[str, str]) -> None:
    assert error_of(told) == found


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("invalid_client", 500, "client_secret among the secrets, is not what it has"),
        ("incorrect_client_credentials", 500, "client_secret among the secrets, is not what it has"),
        ("redirect_uri_mismatch", 500, "has to be https://hub.example.edu/hub/oauth_callback"),
        ("invalid_grant", 400, "Please log in with GitHub once more."),
        ("bad_verification_code", 400, "Please log in with GitHub once more."),
        ("access_denied", 403, "you did not agree to it"),
        ("temporarily_unavailable", 503, "does not answer at the moment"),
        ("", 500, "answered with an error (it did not say which)"),
        ("odd_thing", 500, "answered with an error (odd_thing)"),
    ],
)
def test_what_people_read(code: str, status: int, said: str) -> None:
    error = Words("GitHub", "https://hub.example.edu/hub/oauth_callback").error(code)
    assert error.status_code == status
    assert said in str(error.log_message)


def test_a_name_stays_with_the_first_account(tmp_path: Path) -> None:
    file = tmp_path / "names.json"
    claims = Claims(file)
    assert claims.claim("github:github.com", "ada", "1")
    assert claims.claim("github:github.com", "ada", "1")
    assert not claims.claim("github:github.com", "ada", "2")
    again = Claims(file)
    assert not again.claim("github:github.com", "ada", "2")
    assert again.claim("oidc:https://login.example.edu", "ada", "2")
    assert again.names("github:github.com") == ["ada"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_name_that_could_not_be_noted_is_nobody_s(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "missing" / "names.json")
    with pytest.raises(OSError):
        claims.claim("a", "ada", "1")
    assert claims.names("a") == []


def test_rules_that_cannot_be_read_leave_those_of_before(tmp_path: Path) -> None:
    one, file = oidc(tmp_path, "https://login.example.edu"), tmp_path / "rules.json"
    assert one.rules.why_not(Person("ada")) is not None
    file.write_text(Rules(names=frozenset({"ada"})).to_text())
    assert one.rules.why_not(Person("ada")) is None
    file.write_text("{")
    assert one.rules.why_not(Person("ada")) is None
    assert one.rules.why_not(Person("ben")) is not None
    file.write_text(Rules(names=frozenset({"ben"})).to_text())
    assert one.rules.why_not(Person("ada")) is not None


class Somebody:
    """A person, as JupyterHub keeps one."""

    def __init__(self, name: str, state: dict[str, Any]) -> None:
        self.name, self.state, self.saved = name, state, 0

    async def get_auth_state(self) -> dict[str, Any]:
        return self.state

    async def save_auth_state(self, state: dict[str, Any]) -> None:
        self.state, self.saved = state, self.saved + 1


@pytest.fixture
def tenant() -> Iterator[Agave]:
    with running(Agave()) as tenant:
        yield tenant


async def entered(tenant: Agave, folder: Path) -> tuple[Tapis, Somebody]:
    """Somebody who has just come back from the tenant, and the authenticator that knows them."""
    back = "http://h/hub/oauth_callback"
    told: dict[str, Any] = {"provider": "tapis:t", "title": "T", "callback": back, "version": 2, "tenant": "t"}
    told |= {"base_url": tenant.url, "tokens": True}
    one = Tapis(
        told={**told, "recheck_s": 1, "asks": []},
        rules_file=str(folder / "rules.json"),
        claims_file=str(folder / "names.json"),
        test_people_note=str(folder / "load-test.json"),
        client_id=tenant.client,
        client_secret=tenant.secret,
        token_url=f"{tenant.url}/oauth2/token",
        userdata_url=f"{tenant.url}/profiles/v2/me",
    )
    tenant.codes["c"] = {"who": "ada", "redirect_uri": back}
    code = {"grant_type": "authorization_code", "code": "c", "redirect_uri": back}
    model = await one._token_to_auth_model(await one.get_token_info(None, code))
    return one, Somebody("ada", model["auth_state"])


def age(somebody: Somebody, seconds: float) -> None:
    """Have a token been given so long ago."""
    somebody.state["token_response"][SINCE] -= seconds


async def ask(one: Tapis, somebody: Somebody) -> Known:
    """Have the tenant asked once more."""
    known = await one.known_of(somebody)
    assert known
    await one._ask(somebody, known)
    return known


async def test_a_token_that_is_over_is_renewed_and_kept(tenant: Agave, tmp_path: Path) -> None:
    one, ada = await entered(tenant, tmp_path)
    before = ada.state["access_token"]
    tenant.tokens.clear()
    assert not (await ask(one, ada)).ended
    assert ada.state["access_token"] not in (None, before)
    assert ada.state["token_response"]["refresh_token"] in tenant.refreshes


async def test_one_token_is_renewed_at_a_time(tenant: Agave, tmp_path: Path) -> None:
    """A tenant takes a refresh token once."""
    one, ada = await entered(tenant, tmp_path)
    tenant.tokens.clear()
    known = await one.known_of(ada)
    assert known
    await asyncio.gather(*(one._ask(ada, known) for _ in range(5)))
    assert not known.ended
    assert tenant.asked.count("POST /oauth2/token") == 2


async def test_groups_that_are_asked_for_wait_for_an_answer_where_it_is_too_old(
    tenant: Agave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, ada = await entered(tenant, tmp_path)
    known = await one.known_of(ada)
    assert known
    asked = len(tenant.asked)
    assert await one.groups_of(ada) == frozenset()
    assert len(tenant.asked) == asked, "what it told is not too old"
    known.person, known.asked = replace(known.person, groups=frozenset(["left"])), 0.0
    assert await asyncio.gather(one.groups_of(ada), one.groups_of(ada)) == [frozenset(), frozenset()]
    assert len(tenant.asked) == asked + 1
    # A provider that does not answer is waited for once, and what it told holds.
    known.person, known.asked = replace(known.person, groups=frozenset(["left"])), 0.0
    monkeypatch.setattr(admitting, "GROUPS_WAIT_S", 0.05)
    never = asyncio.Event()
    monkeypatch.setattr(one, "told_anew", lambda _: never.wait())
    assert await one.groups_of(ada) == {"left"}
    one._asking["ada"].cancel()


async def test_what_is_taken_back_ends_the_session(tenant: Agave, tmp_path: Path) -> None:
    one, ada = await entered(tenant, tmp_path)
    tenant.revoke()
    assert (await ask(one, ada)).ended


async def test_a_token_that_is_over_without_another_takes_nothing_back(tenant: Agave, tmp_path: Path) -> None:
    one, ada = await entered(tenant, tmp_path)
    ada.state["refresh_token"] = ada.state["token_response"]["refresh_token"] = None
    assert not (await ask(one, ada)).ended
    tenant.tokens.clear()
    ada.state["token_response"][SINCE] -= 2 * tenant.lasts
    assert not (await ask(one, ada)).ended
    ada.state["token_response"][SINCE] = time.time()
    assert (await ask(one, ada)).ended


@pytest.mark.parametrize(
    "instead",
    [(502, {}, b""), (200, {}, b"<h1>Down</h1>"), (429, JSON, b"{}"), (403, JSON, b'{"message": "rate limit"}')],
)
async def test_no_answer_ends_nothing(
    instead: tuple[int, dict[str, str], bytes], tenant: Agave, tmp_path: Path
) -> None:
    one, ada = await entered(tenant, tmp_path)
    tenant.instead = instead
    assert not (await ask(one, ada)).ended
    assert ada.saved == 0
    tenant.stop()
    assert not (await ask(one, ada)).ended


async def test_a_secret_of_the_hub_s_that_is_no_good_any_more_ends_nobody_s_session(
    tenant: Agave, tmp_path: Path
) -> None:
    one, ada = await entered(tenant, tmp_path)
    tenant.tokens.clear()
    tenant.secret = "another"
    assert not (await ask(one, ada)).ended


@pytest.mark.parametrize("code", ["bad_refresh_token", "invalid_grant"])
async def test_a_renewal_that_is_refused_with_status_200_ends_the_session(
    code: str, tenant: Agave, tmp_path: Path
) -> None:
    one, ada = await entered(tenant, tmp_path)
    tenant.tokens.clear()
    answer = tenant.answer

    def refusing(method: str, path: str, *rest: Any) -> Any:
        told = json.dumps({"error": code}).encode()
        return (200, JSON, told) if path == "/oauth2/token" else answer(method, path, *rest)

    tenant.answer = refusing  # type: ignore[method-assign]
    assert (await ask(one, ada)).ended


async def test_an_account_of_an_institution_that_was_taken_off_ends_the_session(
    tenant: Agave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, ada = await entered(tenant, tmp_path)

    def elsewhere(_: Any) -> str:
        raise one.words.elsewhere()

    monkeypatch.setattr(one, "user_info_to_username", elsewhere)
    assert (await ask(one, ada)).ended


def test_an_address_that_is_not_verified_is_nobody_s_name(tmp_path: Path) -> None:
    one = oidc(tmp_path, "https://login.example.edu")
    one.told["username_claim"] = one.username_claim = "email"
    assert one.user_info_to_username({"email": "ada@example.edu"}) == "ada@example.edu"
    assert one.user_info_to_username({"email": "ada@example.edu", "email_verified": True}) == "ada@example.edu"
    for said in (False, "false"):
        with pytest.raises(HTTPError) as refused:
            one.user_info_to_username({"email": "ada@example.edu", "email_verified": said})
        assert refused.value.status_code == 403


async def test_only_where_tokens_are_given_a_refusal_is_of_the_hub_s_own_secret(tenant: Agave, tmp_path: Path) -> None:
    one, _ = await entered(tenant, tmp_path)
    tenant.instead = (401, JSON, b"{}")
    for address, said in ((one.token_url, "does not accept this hub's own id and secret"), (one.userdata_url, "401")):
        with pytest.raises(HTTPClientError) as refused:
            await one.http_client.fetch(HTTPRequest(address))
        assert said in str(one._refused(refused.value).log_message)


async def test_somebody_else_s_answer_ends_the_session(tenant: Agave, tmp_path: Path) -> None:
    one, ada = await entered(tenant, tmp_path)
    tenant.tokens[ada.state["access_token"]] = "ben"
    assert (await ask(one, ada)).ended


# -- people's tokens for their servers ---------------------------------------------------------------------------------


async def test_a_server_gets_the_token_as_it_is_until_it_is_about_to_end(tenant: Agave, tmp_path: Path) -> None:
    one, ada = await entered(tenant, tmp_path)
    told = await one.token_for(ada)
    assert told["access_token"] == ada.state["access_token"]
    assert (told["tenant"], told["username"], told["base_url"]) == ("t", "ada", tenant.url)
    assert told["expires_at"] - told["created_at"] == tenant.lasts
    assert 0 < told["ask_again_s"] <= 300
    assert ada.state["refresh_token"] not in told.values()
    age(ada, tenant.lasts - 500)
    assert (await one.token_for(ada))["access_token"] != told["access_token"]
    assert tenant.asked.count("POST /oauth2/token") == 2


async def test_a_token_is_renewed_once_however_many_servers_ask(tenant: Agave, tmp_path: Path) -> None:
    """While the tenant is asked who it is as well: it takes a refresh token once."""
    one, ada = await entered(tenant, tmp_path)
    age(ada, tenant.lasts + 1)
    tenant.tokens.clear()
    known = await one.known_of(ada)
    assert known
    first, *others, _ = await asyncio.gather(*(one.token_for(ada) for _ in range(5)), one._ask(ada, known))
    assert [other["access_token"] for other in others] == [first["access_token"]] * 4
    assert tenant.asked.count("POST /oauth2/token") == 2
    assert ada.state["refresh_token"] in tenant.refreshes


async def test_what_renews_the_next_token_is_kept_before_anything_else(tenant: Agave, tmp_path: Path) -> None:
    """The tenant gives a token, and is away when it is asked whose that is."""
    one, ada = await entered(tenant, tmp_path)
    tenant.tokens.clear()
    token_answer = tenant.token_answer

    def last_answer(access: str, refresh: str, who: str) -> dict[str, Any]:
        tenant.instead = (502, {}, b"")
        return token_answer(access, refresh, who)

    tenant.token_answer = last_answer  # type: ignore[method-assign]
    assert not (await ask(one, ada)).ended
    tenant.instead, tenant.token_answer = None, token_answer  # type: ignore[method-assign]
    assert ada.state["refresh_token"] in tenant.refreshes
    tenant.tokens.clear()
    assert not (await ask(one, ada)).ended


async def test_a_tenant_that_is_away_leaves_the_token_while_it_holds(tenant: Agave, tmp_path: Path) -> None:
    one, ada = await entered(tenant, tmp_path)
    age(ada, tenant.lasts - 100)
    tenant.instead = (502, {}, b"")
    told = await one.token_for(ada)
    assert (told["access_token"], told["ask_again_s"]) == (ada.state["access_token"], 60)
    age(ada, 200)
    with pytest.raises(Silent):
        await one.token_for(ada)
    tenant.instead = None
    assert (await one.token_for(ada))["access_token"] != told["access_token"]


async def test_a_token_that_cannot_be_renewed_is_none_when_it_is_over(tenant: Agave, tmp_path: Path) -> None:
    one, ada = await entered(tenant, tmp_path)
    tenant.revoke()
    age(ada, tenant.lasts - 100)
    assert (await one.token_for(ada))["access_token"] == ada.state["access_token"]
    age(ada, 200)
    with pytest.raises(Ended):
        await one.token_for(ada)
    ada.state["refresh_token"] = None
    with pytest.raises(Ended):
        await one.token_for(ada)
    ada.state["hubfleet"]["provider"] = "another"
    with pytest.raises(Ended):
        await one.token_for(ada)


async def test_a_log_in_while_the_tenant_is_asked_counts(tenant: Agave, tmp_path: Path) -> None:
    one, ada = await entered(tenant, tmp_path)
    _, later = await entered(tenant, tmp_path)
    age(ada, tenant.lasts)
    token_answer = tenant.token_answer

    def beside(access: str, refresh: str, who: str) -> dict[str, Any]:
        ada.state = later.state
        return token_answer(access, refresh, who)

    tenant.token_answer = beside  # type: ignore[method-assign]
    assert (await one.token_for(ada))["access_token"] == later.state["access_token"]
    assert ada.state is later.state


async def test_a_log_in_while_it_is_asked_who_it_is_counts(tenant: Agave, tmp_path: Path) -> None:
    one, ada = await entered(tenant, tmp_path)
    known = await one.known_of(ada)
    assert known
    _, later = await entered(tenant, tmp_path)
    person = tenant.person

    def beside(path: str, query: dict[str, str], token: str | None) -> Any:
        ada.state = {**later.state, "hubfleet": {**later.state["hubfleet"], "got": time.time()}}
        return person(path, query, token)

    tenant.person = beside  # type: ignore[method-assign]
    await one._ask(ada, known)
    assert ada.state["access_token"] == later.state["access_token"]


class Issuer(Provider):
    """What a provider of OpenID Connect has for tokens."""

    authorize_path, token_path = "/authorize", "/token"

    def person(self, path: str, query: dict[str, str], token: str | None) -> Any:
        return 200, JSON, document(self.url, token_endpoint=f"{self.url}/token")


async def test_a_hub_that_has_just_come_up_renews_tokens_of_openid_connect(tmp_path: Path) -> None:
    with running(Issuer()) as issuer:
        one = oidc(tmp_path, issuer.url)
        one.client_id, one.client_secret = issuer.client, issuer.secret
        issuer.refreshes["r1"] = "s-ada"
        tokens = {"access_token": "a1", "refresh_token": "r1"}
        given = {**tokens, "expires_in": 3600, SINCE: time.time() - 3500}
        kept = one.state_of(Person("ada", "s-ada"))
        ada = Somebody("ada", {**tokens, "token_response": given, "oauth_user": {"preferred_username": "Ada"}, **kept})
        told = await one.token_for(ada)
        assert (told["kind"], told["issuer"], told["username"]) == ("oidc", issuer.url, "Ada")
        assert issuer.tokens[told["access_token"]] == "s-ada"
        assert ada.state["refresh_token"] in issuer.refreshes
        age(ada, 3500)
        issuer.stop()
        assert (await one.token_for(ada))["access_token"] == told["access_token"]


@pytest.mark.parametrize("lasts", [None, "", "soon", 0])
async def test_a_tenant_that_does_not_tell_how_long_a_token_lasts(lasts: Any, tenant: Agave, tmp_path: Path) -> None:
    one, ada = await entered(tenant, tmp_path)
    ada.state["token_response"]["expires_in"] = lasts
    told = await one.token_for(ada)
    assert (told["access_token"], told["expires_at"]) == (ada.state["access_token"], 0)
    assert told["ask_again_s"] == 300


@pytest.mark.parametrize("kind", ["github", "google", "cilogon", "globus", "oidc", "tapis", "ldap", "lti"])
def test_there_is_one_of_each_kind(kind: str) -> None:
    assert choose.of_kind(kind).__name__.lower() == kind


def test_wrong_names_take_no_more_and_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"provider": "ldap:l", "title": "L", "callback": "", "recheck_s": 300, "asks": []}
    files = {name: str(tmp_path / name) for name in ("rules_file", "claims_file", "test_people_note")}
    one = Ldap(told=told, **files)
    for number in range(MOST_NAMES):
        one._tried(f"name{number}")
    with pytest.raises(HTTPError):
        one._tried("one-more")
    one._tried("name1")
    later = time.monotonic() + 2 * PAUSE_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    one._tried("one-more")
    assert len(one._wrong) == 1
