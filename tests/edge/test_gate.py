"""The gate between an edge on a machine of its own and the proxy: what passes, what is believed, who gets nothing."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import edges
import pytest
import websocket
from edges import Edge, Gate, configuration

import needs
from hubfleet.engines.docker.edge import STOP_SIGNAL
from hubfleet.link import NAME as GATE
from hubfleet.link import Link, make
from pairs import NAME, make_pair
from waiting import soon

pytestmark = [needs.command("caddy"), needs.command("curl")]
NewEdge = Callable[..., Edge]


@pytest.fixture(scope="module")
def link() -> Link:
    return make()


@pytest.fixture
def gate(tmp_path: Path, proxy: edges.Proxy, link: Link, hub_logs: list[Path]) -> Iterator[Gate]:
    """A running gate."""
    made = Gate(tmp_path / "gate", proxy.socket, link)
    hub_logs.append(made.log)
    made.start()
    yield made
    made.end()


@pytest.fixture
def edge(new_edge: NewEdge, gate: Gate) -> Edge:
    """One that comes in by the gate."""
    made = new_edge(configuration("self-signed"), **gate.places)
    made.start()
    soon(made.answers)
    return made


def told(edge: Edge, *options: str) -> dict[str, Any]:
    """What the server behind it all was asked with."""
    return dict(json.loads(edge.curl("/lab?a=b", "--insecure", *options).stdout)["headers"])


def test_what_is_asked_arrives_as_without_it(edge: Edge, tmp_path: Path) -> None:
    seen = told(edge)
    assert seen["host"] == f"{NAME}:{edge.places.https_port}"
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert (seen["x-forwarded-proto"], seen["x-forwarded-host"]) == ("https", seen["host"])
    assert not {"via", "accept-encoding"} & set(seen)
    head = edge.curl("/download", "--insecure", "--dump-header", "-", "--output", "/dev/null").stdout.lower()
    assert f"content-length: {edges.BIG}" in head
    assert "server:" not in head
    big = tmp_path / "big"
    with big.open("wb") as opened:
        opened.truncate(50 * 1024 * 1024)
    done = edge.curl("/upload", "--insecure", "--header", "Expect:", "--data-binary", f"@{big}")
    assert json.loads(done.stdout) == {"size": 50 * 1024 * 1024}


def test_a_websocket_carries_a_megabyte(edge: Edge) -> None:
    connection = websocket.create_connection(
        f"wss://127.0.0.1:{edge.places.https_port}/echo",
        host=NAME,
        sslopt={"cert_reqs": ssl.CERT_NONE},
        timeout=60,
        http_no_proxy=["*"],
    )
    text = "0123456789abcdef" * 65536
    connection.send(text)
    assert connection.recv() == text
    connection.close()


@pytest.mark.parametrize(("sign", "sent_away"), [(STOP_SIGNAL, False), ("SIGTERM", True)])
def test_a_gate_that_is_replaced_does_not_send_pages_away(edge: Edge, gate: Gate, sign: str, sent_away: bool) -> None:
    """The other signal is here to show that it would: by one of the two words that pages take for the end."""
    address = f"wss://127.0.0.1:{edge.places.https_port}/echo"
    insecure = {"cert_reqs": ssl.CERT_NONE}
    connection = websocket.create_connection(address, host=NAME, sslopt=insecure, timeout=60, http_no_proxy=["*"])
    connection.send("text")
    assert connection.recv() == "text"
    assert gate.program is not None
    gate.program.end(signal.Signals[sign])
    try:
        told_last = int.from_bytes(connection.recv_frame().data[:2], "big")
    except (websocket.WebSocketConnectionClosedException, OSError):
        told_last = None
    assert told_last in ((1000, 1001) if sent_away else (None,))


def test_what_a_browser_claims_is_dropped_at_the_edge(edge: Edge) -> None:
    claims = {"X-Forwarded-For": "203.0.113.66", "X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "evil.example"}
    claims |= {"X-Real-IP": "203.0.113.66", "Forwarded": "for=203.0.113.66", "X-Scheme": "gopher"}
    seen = told(edge, *(word for name, value in claims.items() for word in ("--header", f"{name}: {value}")))
    assert not any(value in text for value in claims.values() for text in seen.values())
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("127.0.0.1", "https")


def asked(gate: Gate, *pair: str) -> str:
    """What the gate answers to somebody who shows this certificate, or none."""
    given = []
    for option, text in zip(("--cert", "--key"), pair, strict=False):
        file = gate.folder / f"stranger{option}.pem"
        file.write_text(text)
        given += [option, str(file)]
    argv = ["curl", "--silent", "--insecure", "--max-time", "20", "--noproxy", "*", *given]
    claim = ["--header", "X-Forwarded-For: 203.0.113.66"]
    # by its name, as the edge does: without one it has no certificate for anybody
    address = ["--connect-to", "::127.0.0.1:", f"https://{GATE}:{gate.port}/"]
    return subprocess.run([*argv, *claim, *address], capture_output=True, text=True).stdout


def test_nobody_but_the_edge_gets_an_answer(gate: Gate, link: Link) -> None:
    other, own = make(), make_pair("edge.hubfleet.invalid")
    strangers = {
        "no certificate": (),
        "that of another hub's edge": (other.edge_certificate, other.edge_key),
        "one of the same name": (own.pem.decode(), own.key_pem.decode()),
        "the gate's own": (link.gate_certificate, link.gate_key),
    }
    assert {who: asked(gate, *pair) for who, pair in strangers.items()} == dict.fromkeys(strangers, "")
    with socket.create_connection(("127.0.0.1", gate.port), timeout=10) as plain:
        plain.sendall(b"GET /lab HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert b"path" not in plain.recv(4096)
    # The edge does, and is believed.
    seen = json.loads(asked(gate, link.edge_certificate, link.edge_key))["headers"]
    assert seen["x-forwarded-for"] == "203.0.113.66"


def test_the_edge_tells_nothing_to_another_gate(
    new_edge: NewEdge, tmp_path: Path, proxy: edges.Proxy, gate: Gate, link: Link
) -> None:
    # one that would take this edge for its own
    false = Gate(tmp_path / "false", proxy.socket, replace(make(), edge_certificate=link.edge_certificate))
    false.start()
    try:
        made = new_edge(configuration("self-signed"), gate=false.places["gate"], link=gate.places["link"])
        made.start()
        soon(made.answers)
        done = made.curl("/lab", "--insecure", "--write-out", "%{http_code}")
        assert done.stdout.endswith("503")
        assert "path" not in done.stdout
    finally:
        false.end()


def test_a_gate_that_is_replaced_is_waited_for_and_one_that_is_gone_is_told(edge: Edge, gate: Gate) -> None:
    assert gate.program is not None
    gate.program.end(signal.SIGKILL)
    done = edge.curl("/lab", "--insecure", "--write-out", "%{http_code}")
    assert done.stdout.endswith("503")
    assert "One moment" in done.stdout
    gate.program = None
    address = f"https://{NAME}:{edge.places.https_port}/lab"
    argv = ["curl", "--silent", "--insecure", "--noproxy", "*", "--connect-to", "::127.0.0.1:", address]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as waiting:
        gate.start()
        assert waiting.stdout is not None
        assert json.loads(waiting.stdout.read())["path"] == "/lab"
