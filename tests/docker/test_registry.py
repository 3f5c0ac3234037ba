"""What a real registry says of images, asked as one who has no account there."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from registries import OPEN, Registry, Tokens

import needs
from hubfleet.agent import registry
from hubfleet.agent.registry import manifests
from pairs import make_pair

pytestmark = [needs.command("docker-registry")]

HERE = "127.0.0.1"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of what this machine's engine trusts or knows has a say."""
    monkeypatch.setattr(registry, "CERTIFICATES", tmp_path / "certs.d")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    return tmp_path


@pytest.fixture
def open_one(place: Path) -> Iterator[Registry]:
    made = Registry(place, HERE, make_pair("authority", authority=True))
    yield made
    made.end()


def said(image: str, authorities: Path | None = None) -> tuple[str, str]:
    verdict, why = manifests([image], authorities.read_text() if authorities else "")[image]
    return verdict, why


def test_there_and_not_there(open_one: Registry) -> None:
    image = open_one.put("ours/base", "1")
    trust = open_one.authority
    assert said(image, trust) == ("there", "")
    assert said(f"{open_one.name}/ours/base:2", trust) == ("absent", "HTTP 404")
    assert said(f"{open_one.name}/ours/other:1", trust) == ("absent", "HTTP 404")


def test_an_authority_that_is_not_known_or_known_to_the_engine(open_one: Registry, place: Path) -> None:
    image = open_one.put("ours/base", "1")
    verdict, why = said(image)
    assert (verdict, "unable to get local issuer certificate" in why or "self-signed" in why) == ("untrusted", True)
    folder = place / "certs.d" / open_one.name
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(open_one.authority.read_bytes())
    assert said(image) == ("there", "")


def test_nobody_there_and_one_who_never_answers(open_one: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    image = open_one.put("ours/base", "1")
    open_one.end()
    assert said(image, open_one.authority) == ("unreachable", "Connection refused")
    monkeypatch.setattr(registry, "ALL_LIMIT_S", 1.0)
    with socket.create_server((HERE, 0)) as silent:
        begin = time.monotonic()
        image = f"{HERE}:{silent.getsockname()[1]}/ours/base:1"
        assert said(image) == ("unreachable", "no answer within 1 s")
        assert time.monotonic() - begin < 4


def test_a_token_is_fetched_where_the_registry_sends_for_one(open_one: Registry, place: Path) -> None:
    """As public registries do; and what is not everybody's is not told from what is not there."""
    for repository in (f"{OPEN}base", "closed/base"):
        open_one.put(repository, "1")
    authority = make_pair("authority", authority=True)
    (place / "tokens").mkdir()
    tokens = Tokens(place / "tokens", HERE, authority)
    behind = Registry(place, HERE, authority, tokens)
    try:
        assert said(f"{behind.name}/{OPEN}base:1", behind.authority) == ("there", "")
        assert said(f"{behind.name}/{OPEN}base:2", behind.authority) == ("absent", "HTTP 404")
        assert said(f"{behind.name}/closed/base:1", behind.authority) == ("refused", "HTTP 401")
        assert said(f"{behind.name}/nobody/has:1", behind.authority) == ("refused", "HTTP 401")
        assert "scope=repository%3Aopen%2Fbase%3Apull" in tokens.asked[0]
    finally:
        behind.end()
        tokens.end()


def test_what_the_engine_finds_by_ways_of_its_own_is_there(open_one: Registry, place: Path) -> None:
    """A mirror or a proxy of the engine's. Its answer is made up; that it is asked is what counts."""
    image = open_one.put("ours/base", "1")
    asked: list[str] = []
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(place / "none.sock"))
        engine.listen()

        def answer() -> None:
            link, _ = engine.accept()
            with link:
                asked.append(link.recv(4096).split(b"\r\n")[0].decode())
                body = json.dumps({}).encode()
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        threading.Thread(target=answer, daemon=True).start()
        assert said(image) == ("there", "")
    assert asked == [f"GET /distribution/{image}/json HTTP/1.1"]
