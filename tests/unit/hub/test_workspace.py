"""How the hub asks Google's directory for groups: one token for all, page by page, and no for a bad answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from hubfleet.hub.providers import workspace as module
from hubfleet.hub.providers.web import Client, Silent
from hubfleet.hub.providers.workspace import PAGES, Workspace
from providers import Google, running

JSON = {"Content-Type": "application/json"}
ADA = "1"


@pytest.fixture
def google() -> Iterator[Google]:
    with running(Google()) as google:
        google.add("ada@example.edu", ADA, "Physics-101@example.edu", "lab@example.edu", "choir@example.edu")
        yield google


def workspace(google: Google, key: str | None = None, administrator: str = "admin@example.edu") -> Workspace:
    told = {
        "administrator": administrator,
        "groups": f"{google.url}/admin/directory/v1/groups",
        "token": f"{google.url}/token",
    }
    return Workspace(told, google.key_file() if key is None else key, Client(), logging.getLogger("test"))


async def test_groups_of_all_pages(google: Google) -> None:
    google.page = 2
    every = {"physics-101@example.edu", "lab@example.edu", "choir@example.edu"}
    assert await workspace(google).groups_of(ADA) == every
    assert google.asked == ["POST /token", *["GET /admin/directory/v1/groups"] * 2]


async def test_a_class_that_comes_in_at_once_asks_for_one_token(google: Google) -> None:
    google.add("ben@example.edu", "2")
    one = workspace(google)
    found = await asyncio.gather(*(one.groups_of(email) for email in [ADA, "2"] * 10))
    assert [len(groups) for groups in found] == [3, 0] * 10
    assert google.asked.count("POST /token") == 1


async def test_a_token_is_used_until_shortly_before_its_end(google: Google) -> None:
    one = workspace(google)
    for _ in range(2):
        await one.groups_of(ADA)
    assert google.asked.count("POST /token") == 1
    one._until -= 3599 - 120
    await one.groups_of(ADA)
    assert google.asked.count("POST /token") == 2


async def test_a_token_that_was_taken_back_is_asked_for_anew_once(google: Google) -> None:
    one = workspace(google)
    await one.groups_of(ADA)
    google.service_tokens.clear()
    assert len(await one.groups_of(ADA)) == 3
    google.service_lasts = False
    google.service_tokens.clear()
    with pytest.raises(Silent, match="Google answered 401: authError!"):
        await one.groups_of(ADA)


async def test_who_has_no_account_in_the_directory_is_in_no_group(
    google: Google, caplog: pytest.LogCaptureFixture
) -> None:
    assert await workspace(google).groups_of("3") == frozenset()
    assert "Google's directory has no account number 3" in caplog.text


async def test_what_is_no_answer_is_taken_for_none(google: Google) -> None:
    one = workspace(google)
    await one.groups_of(ADA)
    for content in (b"<h1>Welcome to this hotel</h1>", b"[]", b"{}", b'{"error": "odd"}', b'{"groups": null}'):
        google.instead = (200, JSON, content)
        with pytest.raises(Silent):
            await one.groups_of(ADA)
        with pytest.raises(Silent):
            await workspace(google).groups_of(ADA)
    google.instead = (404, {"Content-Type": "text/html"}, b"<h1>Not Found</h1>")
    with pytest.raises(Silent, match="Google answered 404"):
        await one.groups_of(ADA)
    google.instead = (200, JSON, b'{"groups": [], "nextPageToken": "again"}')
    before = len(google.asked)
    with pytest.raises(Silent, match="more than"):
        await one.groups_of(ADA)
    assert len(google.asked) - before == PAGES


async def test_refusals_are_told_in_words(google: Google) -> None:
    with pytest.raises(Silent, match="knows no administrator ben@"):
        await workspace(google, administrator="ben@example.edu").groups_of(ADA)
    with pytest.raises(Silent, match="does not accept the key of hub@project-1"):
        await workspace(google, Google().key_file()).groups_of(ADA)
    google.enabled = False
    with pytest.raises(Silent, match="enable Admin SDK API"):
        await workspace(google).groups_of(ADA)
    google.delegated = False
    with pytest.raises(Silent, match="Domain-wide delegation: client id 104729"):
        await workspace(google).groups_of(ADA)
    with pytest.raises(Silent, match="the secret google_key is not JSON"):
        await workspace(google, "@@google_key@@").groups_of(ADA)
    google.stop()
    with pytest.raises(Silent):
        await workspace(google).groups_of(ADA)


async def test_a_directory_that_hangs_is_waited_for_so_long(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = await asyncio.start_server(lambda *_: asyncio.sleep(30), "127.0.0.1", 0)
    one = workspace(google)
    one._told["groups"] = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/groups"
    monkeypatch.setattr(module, "LIMIT_S", 0.2)
    with pytest.raises(Silent, match="did not tell within"):
        await one.groups_of(ADA)
    silent.close()
