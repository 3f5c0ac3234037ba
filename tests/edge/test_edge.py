"""The edge in front of the stock proxy: what browsers get, what the hub is told, and what happens when parts die."""

from __future__ import annotations

import json
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edges
import pytest
import websocket
from edges import Edge, configuration

import needs
from hubfleet.certificates import read_certificate
from hubfleet.engines.docker.edge import STOP_SIGNAL
from pairs import NAME, make_pair
from waiting import soon

pytestmark = [needs.command("caddy"), needs.command("curl")]
GOING_AWAY = 1001
NewEdge = Callable[..., Edge]
SPOOFED = {
    "X-Forwarded-For": "203.0.113.66",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "666",
    "X-Real-IP": "203.0.113.66",
    "X-Scheme": "gopher",
    "Forwarded": "for=203.0.113.66;proto=gopher",
}


def started(edge: Edge) -> Edge:
    edge.start()
    soon(edge.answers)
    return edge


@pytest.fixture
def own(new_edge: NewEdge) -> Edge:
    """An edge with a certificate of its own making."""
    return started(new_edge(configuration("self-signed")))


def told(edge: Edge, *options: str) -> dict[str, Any]:
    """What the server behind it all was asked with."""
    done = edge.curl("/lab?a=b", "--insecure", *options)
    return dict(json.loads(done.stdout))


def headers(*pairs: tuple[str, str]) -> list[str]:
    return [word for name, value in pairs for word in ("--header", f"{name}: {value}")]


def test_pages_over_https_and_http_2(own: Edge) -> None:
    soon(own.root.exists)
    done = own.curl("/lab?a=b", "--cacert", str(own.root), "--http2", "--write-out", "\n%{http_version}")
    assert done.returncode == 0, done.stderr
    body, version = done.stdout.rsplit("\n", 1)
    assert version == "2"
    assert json.loads(body)["path"] == "/lab?a=b"
    assert json.loads(body)["headers"]["host"] == f"{NAME}:{own.places.https_port}"
    assert own.curl("/", "--cacert", str(own.root), "--http1.1", "--write-out", "%{http_version}").stdout.endswith(
        "1.1"
    )
    assert own.curl("/").returncode == 60  # nobody else's authority vouches for it


def test_nothing_tells_what_runs_here(own: Edge) -> None:
    for address in ("/", f"http://{NAME}:{own.places.http_port}/", "/none"):
        head = own.curl(address, "--insecure", "--dump-header", "-", "--output", "/dev/null").stdout.lower()
        assert head.startswith("http/")
        assert "server:" not in head
        assert "via:" not in head
        assert "strict-transport-security" not in head  # a browser would never again take an exception


def test_http_leads_to_https(own: Edge) -> None:
    for host in (NAME, "www.example.edu", "192.0.2.1"):
        address = f"http://{host}:{own.places.http_port}/lab?a=b"
        done = own.curl(address, "--write-out", "%{http_code} %{redirect_url}")
        assert done.stdout == f"308 https://{NAME}:{own.places.https_port}/lab?a=b"


def test_other_names_lead_to_the_hubs(own: Edge) -> None:
    for host in ("www.example.edu", "127.0.0.1"):
        address = f"https://{host}:{own.places.https_port}/lab?a=b"
        done = own.curl(address, "--insecure", "--write-out", "%{http_code} %{redirect_url}")
        assert done.stdout == f"308 https://{NAME}:{own.places.https_port}/lab?a=b"


def test_without_a_name_every_name_will_do(new_edge: NewEdge) -> None:
    edge = started(new_edge(configuration("self-signed", domain=None)))
    for host in ("localhost", "127.0.0.1", "www.example.edu"):
        done = edge.curl(f"https://{host}:{edge.places.https_port}/", "--insecure")
        assert json.loads(done.stdout)["headers"]["x-forwarded-proto"] == "https"


def test_a_websocket_carries_a_megabyte(own: Edge) -> None:
    address = f"wss://127.0.0.1:{own.places.https_port}/echo"
    connection = websocket.create_connection(
        address, host=NAME, sslopt={"cert_reqs": ssl.CERT_NONE}, timeout=60, http_no_proxy=["*"]
    )
    text = "0123456789abcdef" * 65536
    connection.send(text)
    assert connection.recv() == text
    connection.close()


@pytest.mark.parametrize(("sign", "said"), [(STOP_SIGNAL, None), ("SIGTERM", GOING_AWAY)])
def test_an_edge_that_is_replaced_does_not_send_pages_away(own: Edge, sign: str, said: int | None) -> None:
    """The other signal is here to show that it would."""
    address = f"wss://127.0.0.1:{own.places.https_port}/echo"
    connection = websocket.create_connection(
        address, host=NAME, sslopt={"cert_reqs": ssl.CERT_NONE}, timeout=60, http_no_proxy=["*"]
    )
    connection.send("text")
    assert connection.recv() == "text"
    own.end(signal.Signals[sign])
    try:
        frame = connection.recv_frame()
        told = int.from_bytes(frame.data[:2], "big")
    except (websocket.WebSocketConnectionClosedException, OSError):
        told = None
    assert told == said


def test_what_a_browser_claims_of_its_origin_is_not_passed_on(own: Edge) -> None:
    seen = told(own, *headers(*SPOOFED.items()))["headers"]
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "https"
    assert seen["x-forwarded-host"] == f"{NAME}:{own.places.https_port}"
    for name, value in SPOOFED.items():
        assert value not in seen.get(name.lower(), "")


def test_a_web_server_in_front_is_believed_when_it_is_named(new_edge: NewEdge) -> None:
    listen = {"trusted_proxies": ["127.0.0.0/8"]}
    inside = started(new_edge(configuration("off", listen=listen)))
    alone = started(new_edge(configuration("off")))
    given = [("X-Forwarded-For", "192.0.2.9"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", NAME)]
    seen = told(inside, *headers(*given, ("X-Real-IP", "203.0.113.66")))["headers"]
    assert seen["x-forwarded-for"] == "192.0.2.9, 127.0.0.1"
    assert (seen["x-forwarded-proto"], seen["x-forwarded-host"]) == ("https", NAME)
    assert "x-real-ip" not in seen
    seen = told(alone, *headers(*given))["headers"]
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("127.0.0.1", "http")


def test_downloads_keep_their_length_and_the_hubs_scripts_are_compressed(own: Edge) -> None:
    wanted = [*headers(("Accept-Encoding", "gzip")), "--insecure", "--dump-header", "-", "--output", "/dev/null"]
    head = own.curl("/download", *wanted).stdout.lower()
    assert f"content-length: {edges.BIG}" in head
    assert "content-encoding" not in head
    assert "content-encoding: gzip" in own.curl("/hub/static/style.css", *wanted).stdout.lower()
    assert "accept-encoding" not in told(own)["headers"]  # or the edge would unpack what was packed for nobody
    plain = own.curl("/download", "--insecure", "--output", "/dev/null", "--dump-header", "-").stdout.lower()
    assert f"content-length: {edges.BIG}" in plain


def test_an_upload_has_no_limit(own: Edge, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as opened:
        opened.truncate(200 * 1024 * 1024)
    done = own.curl("/upload", "--insecure", "--header", "Expect:", "--data-binary", f"@{big}")
    assert json.loads(done.stdout) == {"size": 200 * 1024 * 1024}


def test_a_certificate_of_ones_own(new_edge: NewEdge, tmp_path: Path) -> None:
    authority = make_pair("authority", authority=True)
    middle = make_pair("middle", by=authority, authority=True)
    pair = make_pair(NAME, by=middle)
    certificate, key = pair.write(tmp_path, middle)
    (tmp_path / "authority.pem").write_bytes(authority.pem)
    https = {"certificate": certificate, "key": key}
    edge = started(new_edge(configuration(https), certificate=str(certificate), key=str(key)))
    done = edge.curl("/", "--cacert", str(tmp_path / "authority.pem"), "--dump-header", "-")
    assert done.returncode == 0, done.stderr
    assert "strict-transport-security: max-age=15552000" in done.stdout.lower()
    assert edge.certificate().startswith(pair.pem)


def test_an_expired_certificate_does_not_keep_the_edge_from_starting(new_edge: NewEdge, tmp_path: Path) -> None:
    certificate, key = make_pair(NAME, starts=-90, ends=-1).write(tmp_path)
    https = {"certificate": certificate, "key": key}
    edge = started(new_edge(configuration(https), certificate=str(certificate), key=str(key)))
    assert edge.curl("/", "--cacert", str(certificate)).returncode == 60
    assert read_certificate(edge.certificate()).names == (NAME,)


@pytest.fixture
def resting(proxy: edges.Proxy) -> Iterator[edges.Proxy]:
    """A proxy that was ended; it is there again for the tests that follow."""
    proxy.end()
    yield proxy
    proxy.end()
    proxy.start()


def test_a_proxy_that_is_away_for_long(own: Edge, resting: edges.Proxy) -> None:
    done = own.curl("/lab?token=canary", "--insecure", "--include", *headers(("Authorization", "token canary")))
    assert done.stdout.splitlines()[0].split()[1] == "503"
    assert "The hub or your server does not answer. This page tries again every five seconds." in done.stdout
    assert "caddy" not in done.stdout.lower()
    assert "server:" not in done.stdout.lower()


def test_no_log_tells_what_was_asked_for(new_edge: NewEdge) -> None:
    edge = new_edge(configuration("self-signed"))

    def talkative(data: dict[str, Any]) -> None:
        data["logging"]["logs"]["default"]["level"] = "DEBUG"

    edge.change = talkative
    started(edge)
    assert told(edge, *headers(("Authorization", "token canary"), ("Cookie", "a=canary")))
    assert edge.curl("/lab?token=canary", "--insecure").returncode == 0
    edge.end()
    assert "upstream roundtrip" in edge.log.read_text()
    assert "canary" not in edge.log.read_text()


def test_a_proxy_that_is_replaced_is_waited_for(own: Edge, resting: edges.Proxy) -> None:
    answers: list[str] = []

    def ask() -> None:
        answers.append(own.curl("/lab", "--insecure", "--write-out", "%{http_code}", "--output", "/dev/null").stdout)

    asking = threading.Thread(target=ask)
    asking.start()
    resting.start()
    asking.join()
    assert answers == ["200"]


def test_a_killed_edge_comes_back_with_its_certificate(own: Edge) -> None:
    before = own.certificate()
    own.end(signal.SIGKILL)
    assert not own.answers()
    started(own)
    assert own.certificate() == before


def test_the_administration_is_closed(own: Edge) -> None:
    assert own.curl("http://localhost:2019/config/").returncode == 7


def test_an_own_certificate_is_renewed_by_itself(new_edge: NewEdge) -> None:
    edge = new_edge(configuration("self-signed"))

    def soon_due(data: dict[str, Any]) -> None:
        data["apps"]["tls"]["automation"]["renew_interval"] = "1s"
        data["apps"]["tls"]["automation"]["policies"][0]["renewal_window_ratio"] = 0.999999

    edge.change = soon_due
    started(edge)
    first = edge.certificate()
    assert soon(lambda: edge.certificate() not in (b"", first), limit=90)
