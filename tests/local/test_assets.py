"""What a browser loads when it opens JupyterLab: compressed, kept, and the same as without compression."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from urllib.parse import urljoin

import pytest
import requests
from harness import Person, RunningHub

FOR_GOOD = "public, max-age=31536000, immutable"
Fetch = Callable[..., tuple[requests.Response, bytes]]


@pytest.fixture
def asa(hub: RunningHub) -> Person:
    person = hub.person("asa")
    if "" not in person.servers():
        assert person.start()[-1]["ready"]
    return person


@pytest.fixture
def fetch(asa: Person) -> Fetch:
    """Asks for JupyterLab's main script; the answer, and its body as it came over the wire."""
    page = f"{asa.hub.url}/user/asa/lab"
    text = requests.get(page, headers=asa.headers, timeout=60).text
    [script] = {urljoin(page, link) for link in re.findall(r'src="([^"]+/main\.[0-9a-f]{8,}\.js[^"]*)"', text)}

    def ask(accepted: str | None, method: str = "GET", **headers: str) -> tuple[requests.Response, bytes]:
        wanted = {**asa.headers, "Accept-Encoding": accepted, **headers}
        answer = requests.request(method, script, headers=wanted, timeout=60, stream=True)
        return answer, answer.raw.read(decode_content=False)

    return ask


@pytest.mark.parametrize("accepted", ["gzip, deflate, br, zstd", "br;q=1.0, GZIP;q=0.5"])
def test_a_script_comes_compressed_and_is_kept_for_good(fetch: Fetch, accepted: str) -> None:
    plain, text = fetch("identity")
    short, body = fetch(accepted)
    assert short.headers["Content-Encoding"] == "gzip"
    assert int(short.headers["Content-Length"]) == len(body) < len(text) / 3
    assert gzip.decompress(body) == text
    for answer in (plain, short):
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == plain.headers["Content-Type"]
        assert "javascript" in answer.headers["Content-Type"]
        assert answer.headers["Cache-Control"] == FOR_GOOD
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.headers["Last-Modified"] == plain.headers["Last-Modified"]
        assert "ETag" not in answer.headers  # the same one for two bodies would be wrong


@pytest.mark.parametrize("accepted", [None, "", "identity", "br", "gzip;q=0", "gzip; q=0.000, br", "gzipped"])
def test_whoever_cannot_read_it_gets_plain_text(fetch: Fetch, accepted: str | None) -> None:
    answer, body = fetch(accepted)
    assert answer.status_code == 200
    assert "Content-Encoding" not in answer.headers
    assert int(answer.headers["Content-Length"]) == len(body)
    assert b"webpack" in body
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.headers["Cache-Control"] == FOR_GOOD


def test_parts_heads_and_questions_whether_it_is_new(fetch: Fetch) -> None:
    _, text = fetch("identity")
    part, body = fetch("gzip", Range="bytes=100-299")
    assert (part.status_code, body) == (206, text[100:300])
    assert "Content-Encoding" not in part.headers
    short, compressed = fetch("gzip")
    head, nothing = fetch("gzip", "HEAD")
    assert (head.headers["Content-Length"], head.headers["Content-Encoding"]) == (str(len(compressed)), "gzip")
    assert nothing == b""
    for accepted in ("gzip", "identity"):
        known = {"If-Modified-Since": short.headers["Last-Modified"]}
        again, nothing = fetch(accepted, **known)
        assert (again.status_code, nothing) == (304, b"")
        assert again.headers["Vary"] == "Accept-Encoding"
