"""Certificates from an authority: got, renewed, and kept when there is nobody to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edges import AUTHORITY, Authority, Edge, Network, configuration

import needs
from hubfleet.certificates import read_certificate
from pairs import NAME
from waiting import soon

pytestmark = [needs.root(), needs.linux(), needs.command("caddy"), needs.command("curl")]
NewEdge = Callable[..., Edge]
PATIENCE_S = 60


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path, NAME, AUTHORITY)
    yield made
    made.end()


@pytest.fixture
def authority(network: Network, tmp_path: Path, hub_logs: list[Path]) -> Iterator[Authority]:
    made = Authority(tmp_path / "authority", network)
    hub_logs.append(made.folder / "authority.log")
    made.start()
    yield made
    made.end()


@pytest.fixture
def edge(authority: Authority, network: Network, new_edge: NewEdge) -> Edge:
    """An edge that asks the authority, not yet started."""
    https = {"acme": authority.url, "ca_bundle": authority.root, "email": "profx@example.edu"}
    return new_edge(configuration(https), network, ca_bundle=str(authority.root))


def trusted(edge: Edge, authority: Authority) -> bool:
    """Whether who trusts the authority gets a page."""
    return edge.curl("/", "--cacert", str(authority.root)).returncode == 0


@pytest.mark.parametrize("challenge", ["http", "tls-alpn"])
def test_a_certificate_is_got(challenge: str, edge: Edge, authority: Authority) -> None:
    def only(data: dict[str, Any]) -> None:
        issuer = data["apps"]["tls"]["automation"]["policies"][0]["issuers"][0]
        for name, settings in issuer["challenges"].items():
            settings["disabled"] = name != challenge

    edge.change = only
    edge.start()
    soon(lambda: trusted(edge, authority), PATIENCE_S)
    assert read_certificate(edge.certificate()).names == (NAME,)
    done = edge.curl("/", "--cacert", str(authority.root), "--include", "--http2")
    assert done.stdout.startswith("HTTP/2 200")
    assert "strict-transport-security" in done.stdout.lower()


def test_the_authority_is_away_at_a_restart(edge: Edge, authority: Authority) -> None:
    edge.start()
    soon(lambda: trusted(edge, authority), PATIENCE_S)
    before = edge.certificate()
    authority.end()
    edge.end()
    edge.start()
    soon(lambda: trusted(edge, authority))
    assert edge.certificate() == before


def test_the_authority_is_away_at_the_first_start(edge: Edge, authority: Authority) -> None:
    authority.end()
    edge.start()
    soon(edge.answers)  # with the spare certificate, which browsers warn of
    assert not trusted(edge, authority)
    assert NAME not in read_certificate(edge.certificate()).names
    authority.start()
    edge.end()
    edge.start()
    soon(lambda: trusted(edge, authority), PATIENCE_S)


def test_a_certificate_is_renewed_by_itself_and_not_lost_when_that_fails(edge: Edge, authority: Authority) -> None:
    def soon_due(data: dict[str, Any]) -> None:
        automation = data["apps"]["tls"]["automation"]
        automation["renew_interval"] = "1s"
        automation["policies"][0]["renewal_window_ratio"] = 0.9999

    edge.change = soon_due
    edge.start()
    soon(lambda: trusted(edge, authority), PATIENCE_S)
    first = edge.certificate()
    second = soon(lambda: edge.certificate() != first and edge.certificate(), PATIENCE_S)
    assert trusted(edge, authority)

    def failures() -> int:
        return edge.log.read_text().count("will retry")  # after nobody that it may ask gave one

    assert not failures()
    authority.end()
    soon(failures, PATIENCE_S)
    assert trusted(edge, authority)
    assert read_certificate(edge.certificate()).names == read_certificate(second).names
