"""What a real registry says of images: to one who has no account there, and to who is logged in."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from registries import OPEN, Registry, Tokens

import needs
from hubfleet.agent import imagecopy, registry
from hubfleet.agent.registry import access, manifests
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
    with answering(place, "200 OK", {}) as asked:
        assert said(image) == ("there", "")
    assert asked == [f"GET /distribution/{image}/json HTTP/1.1"]


@contextmanager
def answering(place: Path, status: str, body: object) -> Iterator[list[str]]:
    """An engine that says this to whoever asks; what it was asked."""
    asked: list[str] = []
    with socket.socket(socket.AF_UNIX) as engine:
        (place / "none.sock").unlink(missing_ok=True)
        engine.bind(str(place / "none.sock"))
        engine.listen()

        def answer() -> None:
            link, _ = engine.accept()
            with link:
                asked.append(link.recv(4096).split(b"\r\n")[0].decode())
                told = json.dumps(body)
                link.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(told)}\r\n\r\n{told}".encode())

        threading.Thread(target=answer, daemon=True).start()
        yield asked


# -- as root is logged in, for images that go from machine to machine -------------------------------------------------

NAME, PASSWORD = "hubs", "canary:registry"


@pytest.fixture
def logins(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where root's logins would be kept."""
    monkeypatch.setattr(imagecopy, "LOGINS", place / "docker.json")
    return place / "docker.json"


def log_in(logins: Path, at: Registry, password: str = PASSWORD) -> str:
    """As `docker login` writes it down; the header by which it is shown."""
    word = base64.b64encode(f"{NAME}:{password}".encode()).decode()
    logins.write_text(json.dumps({"auths": {at.name: {"auth": word}}}))
    return f"Basic {word}"


def allowed(at: Registry, give: bool = False, image: str = "hubs/hubfleet/users:1") -> tuple[str, str]:
    name = f"{at.name}/{image}"
    verdict, why = access([name], at.authority.read_text(), give=give)[name]
    assert PASSWORD not in why
    return verdict, why


def uploads(at: Registry) -> list[Path]:
    """Uploads that were begun, and are still open."""
    return list(at.folder.glob("storage/**/_uploads/*/data"))


def test_one_that_anybody_may_use_or_nobody_reaches(open_one: Registry, logins: Path) -> None:
    image = open_one.put("hubs/hubfleet/guard", "1").partition("/")[2]
    for give in (False, True):
        assert allowed(open_one, give) == ("absent", "HTTP 404")
        assert allowed(open_one, give, image) == ("there", "")
    assert uploads(open_one) == []
    name = f"{open_one.name}/hubs/x:1"
    assert access([name], "", give=True)[name][0] == "untrusted"
    open_one.end()
    assert allowed(open_one) == ("unreachable", "Connection refused")


@pytest.mark.parametrize(
    ("status", "words", "verdict"),
    [
        ("200 OK", "", "there"),
        ("404 Not Found", "manifest unknown: manifest unknown", "absent"),
        ("500 Internal Server Error", "errors: name unknown: repository name not known to registry", "absent"),
        ("401 Unauthorized", "unauthorized: authentication required", "refused"),
        ("500 Internal Server Error", "x509: certificate signed by unknown authority", "untrusted"),
    ],
)
def test_one_that_only_the_engine_has_a_way_to(
    open_one: Registry, place: Path, logins: Path, status: str, words: str, verdict: str
) -> None:
    """By a proxy of its own, or because it was told to trust it. What it says is an engine's, word for word."""
    name = f"{open_one.name}/hubs/x:1"
    with answering(place, status, {"message": words}):
        assert access([name], "", give=False)[name][0] == verdict


def test_one_that_wants_a_password(place: Path, logins: Path) -> None:
    authority = make_pair("authority", authority=True)
    closed = Registry(place, HERE, authority, accounts={NAME: PASSWORD})
    try:
        for give in (False, True):
            assert allowed(closed, give) == ("refused", "HTTP 401, and root is not logged in to it")
            log_in(logins, closed, "wrong")
            assert allowed(closed, give) == ("refused", "HTTP 401")
            log_in(logins, closed)
            assert allowed(closed, give) == ("absent", "HTTP 404")
            logins.unlink()
        assert uploads(closed) == []
        logins.write_text(json.dumps({"auths": {closed.name: {}}, "credsStore": "pass"}))
        verdict, why = allowed(closed)
        assert (verdict, "is kept by another program (pass)" in why) == ("sealed", True)
    finally:
        closed.end()


@pytest.mark.parametrize(
    ("may", "takes", "gives"),
    [
        (("pull",), "absent", "refused"),
        (("pull", "push"), "absent", "absent"),
        (("pull", "push", "delete"), "absent", "absent"),
        (("push",), "refused", "refused"),
    ],
)
def test_one_that_gives_tokens_for_what_somebody_may_do(
    place: Path, logins: Path, may: tuple[str, ...], takes: str, gives: str
) -> None:
    authority = make_pair("authority", authority=True)
    (place / "tokens").mkdir()
    word = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
    tokens = Tokens(place / "tokens", HERE, authority, {f"Basic {word}": may})
    behind = Registry(place, HERE, authority, tokens)
    try:
        assert allowed(behind)[0] == allowed(behind, give=True)[0] == "refused"
        log_in(logins, behind)
        assert allowed(behind)[0] == takes
        assert allowed(behind, give=True)[0] == gives
        assert "scope=repository%3Ahubs%2Fhubfleet%2Fusers%3Apull%2Cpush%2Cdelete" in tokens.asked[-1]
        if "delete" in may:
            assert uploads(behind) == []
    finally:
        behind.end()
        tokens.end()


def test_a_password_is_shown_to_no_other_place(place: Path, logins: Path) -> None:
    """A registry may send who asks somewhere else; what is shown to it is not for there."""
    shown: list[str] = []
    with socket.create_server((HERE, 0)) as front, socket.create_server((HERE, 0)) as other:
        ports = [one.getsockname()[1] for one in (front, other)]

        def serve(listening: socket.socket, *answers: str) -> None:
            for answer in answers:
                try:
                    link, _ = listening.accept()
                except OSError:
                    return  # nobody has come
                with link:
                    shown.append(link.recv(4096).decode())
                    link.sendall(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())

        refuses = '401 no\r\nWWW-Authenticate: Basic realm="x"'
        leads = f"307 there\r\nLocation: http://{HERE}:{ports[1]}/v2/x"
        for listening, answers in ((front, (refuses, leads)), (other, ("200 OK",))):
            threading.Thread(target=serve, args=(listening, *answers), daemon=True).start()
        name = f"localhost:{ports[0]}"
        word = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
        logins.write_text(json.dumps({"auths": {name: {"auth": word}}}))
        context = registry._context(registry.Reference.of(f"{name}/hubs/x:1"), "")
        said = registry._asked(
            f"http://{HERE}:{ports[0]}", registry.Reference.of(f"{name}/hubs/x:1"), context, f"Basic {word}"
        )
    assert said == ("trouble", "HTTP 307")
    assert ["Authorization" in one for one in shown] == [False, True], "and nobody has asked the other one"
