"""Patterns of addresses that are compiled once mean what those mean that are compiled for each user."""

from __future__ import annotations

import re

import pytest
from tornado.httputil import HTTPServerRequest, RequestStartLine
from tornado.routing import PathMatches
from tornado.web import Application, RequestHandler

from hubfleet.forkserver import routes

PATTERNS = [
    "",
    "api/contents(?P<path>(?:(?:/[^/]+)+|/?))",
    r"api/kernels/(?P<kernel_id>\w+-\w+)/channels$",
    "static/(.*)",
    "lab/tree/(.+)/(.*)",
]
ADDRESSES = [
    "",
    "api/contents",
    "api/contents/a/b.ipynb",
    "api/contents/a%20b",
    "api/kernels/ab-cd/channels",
    "api/kernels/ab-cd/channels/",
    "static/",
    "static/x/y.js",
    "lab/tree/a/b",
    "other",
]


@pytest.fixture(autouse=True)
def _tornado_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PathMatches, "__init__", PathMatches.__init__)


def found(matches: PathMatches, address: str) -> object:
    return matches.match(HTTPServerRequest(start_line=RequestStartLine("GET", address, "HTTP/1.0")))


@pytest.mark.parametrize("beginning", ["/user/ada/", "/user/a.b-c_d~e@f%2Bg/", "/"])
def test_a_shared_pattern_means_what_ones_own_does(beginning: str) -> None:
    own = [PathMatches(beginning + pattern) for pattern in PATTERNS]
    known = routes.compiled(pattern.removesuffix("$") + "$" for pattern in PATTERNS)
    routes.share(known, beginning)
    shared = [PathMatches(beginning + pattern) for pattern in PATTERNS]
    assert all(isinstance(one.regex, routes.Route) for one in shared)
    for one, other in zip(shared, own, strict=True):
        assert one.regex.pattern == other.regex.pattern
        for address in ADDRESSES:
            assert found(one, beginning + address) == found(other, beginning + address)
            assert found(one, f"/user/eve/{address}") == found(other, f"/user/eve/{address}")
        assert one._path == other._path
    assert [one._group_count for one in shared] == [one._group_count for one in own]


def test_what_means_something_else_behind_a_beginning_is_left_alone() -> None:
    patterns = ["?", "a", r"a|b", r"(a|b)", r"[|]", r"[]|]", r"\|", r"(?P<x>a)|b", "*", "", "{2}", "(a(b|c))d"]
    application = Application([("/user/ada/" + pattern, RequestHandler) for pattern in patterns])
    found = routes.rests(application, "/user/ada/")
    assert found == ["a$", "(a|b)$", "[|]$", "[]|]$", r"\|$", "$", "(a(b|c))d$"]


def test_what_is_not_known_is_compiled() -> None:
    routes.share(routes.compiled(["known$"]), "/user/ada/")
    for pattern in ("/user/ada/other", "/user/eve/known", "known"):
        assert isinstance(PathMatches(pattern).regex, re.Pattern)


def test_an_address_that_means_more_as_a_pattern_is_compiled() -> None:
    routes.share(routes.compiled(["known$"]), "/user/(a|b)/")
    assert isinstance(PathMatches("/user/(a|b)/known").regex, re.Pattern)
