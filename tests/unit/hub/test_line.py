"""Who waits for the hub, and what a waiting page is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application

from hubfleet.hub import handlers, passwords
from hubfleet.hub.handlers import PlaceInLine, StartPage
from hubfleet.hub.line import COOKIE, Line, ask_again_s


class Connection:
    """Keeps what is sent; there is no network."""

    def __init__(self) -> None:
        self.sent = b""

    def set_close_callback(self, callback: object) -> None: ...

    def write_headers(self, start: object, headers: object, chunk: bytes) -> asyncio.Future[None]:
        self.sent += chunk
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def finish(self) -> None: ...


async def told(ticket: str | None) -> dict[str, Any]:
    """The hub's answer to a page with this ticket."""
    connection = Connection()
    headers = HTTPHeaders({"Host": "hub", **({"Cookie": f"{COOKIE}={ticket}"} if ticket else {})})
    asked = RequestStartLine("GET", "/hub/api/hubfleet/line", "HTTP/1.1")
    request = HTTPServerRequest(start_line=asked, headers=headers, connection=connection)  # type: ignore[arg-type]
    await PlaceInLine(Application(), request)._execute([])
    answer: dict[str, Any] = json.loads(connection.sent)
    return answer


def test_a_line_knows_only_tickets_that_wait() -> None:
    line = Line()
    with line.stand("a"), line.stand(None):
        with line.stand("b"):
            assert [line.before(ticket) for ticket in ("a", "b", "c")] == [0, 2, None]
        assert line.before("b") is None
    assert line.before("a") is None


async def test_a_page_is_told_what_it_waits_for() -> None:
    lines = {"start": StartPage.turns.line, "log-in": passwords.line}
    for what, line in lines.items():
        with line.stand(None), line.stand("mine"):
            assert await told("mine") == {"before": 1, "what": what, "again_s": 1.0}
            assert await told("another's") == {"before": None, "what": None, "again_s": 1.0}
            assert await told(None) == {"before": None, "what": None, "again_s": 1.0}


async def test_who_waits_for_a_password_is_in_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_free", asyncio.Semaphore(0))
    asking = [
        asyncio.create_task(passwords.matches("x", passwords.NOBODY, "one")),
        asyncio.create_task(passwords.hashed("x", "two")),
    ]
    await asyncio.sleep(0)
    assert [passwords.line.before(ticket) for ticket in ("one", "two")] == [0, 1]
    passwords._free.release()
    assert await asyncio.wait_for(asking[0], 10) is False
    await asyncio.wait_for(asking[1], 10)
    assert [passwords.line.before(ticket) for ticket in ("one", "two")] == [None, None]


def test_a_long_line_is_not_held_up_by_those_who_ask() -> None:
    asked_a_second = sum(1 / ask_again_s(before) for before in range(300))
    assert asked_a_second < 110
    assert ask_again_s(None) == ask_again_s(5) == 1


def test_the_place_is_asked_for_at_an_address_of_its_own() -> None:
    assert (r"/api/hubfleet/line", PlaceInLine) in handlers.HANDLERS
