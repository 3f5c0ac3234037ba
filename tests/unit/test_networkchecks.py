"""Judgements about the network, over tables of what was asked: no machine, no network."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from hubfleet import networkchecks
from hubfleet.agent import probe
from hubfleet.checks import Finding
from hubfleet.config import Config
from hubfleet.config.https import Kind
from pairs import NAME, make_pair

UNKNOWN = "Name or service not known"
MACHINE = "203.0.113.10"


def config(**settings: Any) -> Config:
    return Config.model_validate({"hub": "physics101", "engine": "docker", **settings})


@pytest.mark.parametrize(
    ("kind", "here", "there", "level", "words"),
    [
        ("auto", [MACHINE], [MACHINE], "ok", f"{NAME} leads to {MACHINE}, which is hub1"),
        ("auto", [MACHINE, "2001:db8::1"], UNKNOWN, "ok", "which is hub1"),
        ("auto", ["10.0.0.5"], UNKNOWN, "ok", "which is hub1"),
        ("auto", ["198.51.100.7"], [MACHINE], "note", f"leads to 198.51.100.7, and hub1 has {MACHINE}"),
        ("auto", UNKNOWN, UNKNOWN, "problem", f"DNS does not know {NAME} ({UNKNOWN}). No authority"),
        ("authority", UNKNOWN, ["127.0.1.1"], "problem", f"an entry for it at your DNS, to {MACHINE}"),
        ("authority", UNKNOWN, ["10.0.0.5"], "note", "leads to 10.0.0.5 as hub1 sees it"),
        ("certificate", UNKNOWN, UNKNOWN, "note", "Nobody finds the hub by it"),
        ("self-signed", ["127.0.0.1"], ["127.0.0.1"], "note", "loopback only"),
    ],
)
def test_a_name_leads_to_the_machine(
    kind: Kind, here: networkchecks.Names, there: networkchecks.Names, level: str, words: str
) -> None:
    own = {"10.0.0.5", "172.17.0.1"}
    (found,) = networkchecks.domain(NAME, kind, "hub1", own=own, reached=[MACHINE], here=here, there=there)
    assert (found.level, words in found.text) == (level, True), found


@pytest.mark.parametrize(
    ("settings", "missing", "reached"),
    [
        ({}, [], []),
        ({"domain": NAME}, [], ["acme-v02.api.letsencrypt.org:443"]),
        (
            {"domain": NAME, "https": {"acme": "https://ca.example.edu:9443/x"}},
            [],
            ["ca.example.edu:9443"],
        ),
        ({"network": {"proxy": "http://proxy.example.edu:3128"}}, [], ["proxy.example.edu:3128"]),
        ({"network": {"package_index": "https://mirror.example.edu/simple"}}, [], ["mirror.example.edu:443"]),
        ({}, ["debian:12-slim"], ["registry-1.docker.io:443"]),
        ({}, ["jupyter/scipy-notebook:1"], ["registry-1.docker.io:443"]),
        ({}, ["quay.io/jupyter/scipy-notebook:1"], ["quay.io:443"]),
        ({}, ["registry.example.edu:5000/ours:1"], ["registry.example.edu:5000"]),
    ],
)
def test_what_the_machine_has_to_reach(settings: dict[str, Any], missing: list[str], reached: list[str]) -> None:
    assert [target.key for target in networkchecks.targets(config(**settings), missing)] == reached


def test_what_it_does_not_reach_is_told_with_what_to_do() -> None:
    wanted = networkchecks.targets(config(domain=NAME), ["quay.io/jupyter/scipy-notebook:1"])
    answers = dict.fromkeys((target.key for target in wanted), "Connection refused")
    found = list(networkchecks.outside(wanted, answers))
    assert [finding.level for finding in found] == ["problem", "note"]
    assert "docker save quay.io/jupyter/scipy-notebook:1 | ssh ... docker load" in found[0].text
    assert all("Try: " in finding.text for finding in found)
    bare = networkchecks.targets(config(), ["debian:12-slim"], docker=False)
    assert bare[0].remedy.startswith("apt install docker.io there, and then bring it there: ")
    assert {one.level for one in networkchecks.outside(wanted, dict.fromkeys(answers, ""))} == {"ok"}
    wanted = networkchecks.targets(config(network={"package_index": "https://mirror.example.edu/simple"}), [])
    (found_index,) = networkchecks.outside(wanted, {"mirror.example.edu:443": UNKNOWN})
    assert found_index.level == "problem"


@pytest.mark.parametrize(
    ("days", "domain", "level", "words"),
    [
        (0, NAME, "ok", "hub.pem belongs to its key and is good for 89 days"),
        (75, NAME, "note", "the certificate expires in 14 days. Try: put a new one"),
        (120, NAME, "problem", "the certificate expired on"),
        (0, "other.example.edu", "problem", "other.example.edu"),
    ],
)
def test_a_certificate_of_ones_own(tmp_path: Path, days: int, domain: str, level: str, words: str) -> None:
    certificate, key = make_pair(NAME).write(tmp_path)
    given = config(domain=domain, https={"certificate": str(certificate), "key": str(key)})
    (found,) = networkchecks.certificate(given, datetime.now(timezone.utc) + timedelta(days=days))
    assert (found.level, words in found.text) == (level, True), found


def test_no_certificate_of_ones_own() -> None:
    assert list(networkchecks.certificate(config(domain=NAME))) == []


@pytest.mark.parametrize(
    ("address", "said"),
    [("10.0.0.5", []), ("0.0.0.0", []), ("127.0.0.1", []), ("::", []), ("10.0.0.9", ["problem"])],
)
def test_the_address_to_listen_on_is_the_machines(address: str, said: list[str]) -> None:
    found: list[Finding] = list(networkchecks.listens(config(listen={"address": address}), {"addresses": ["10.0.0.5"]}))
    assert [finding.level for finding in found] == said
    assert not found or "one of 10.0.0.5, or 0.0.0.0" in found[0].text


def test_names_and_targets_are_asked_at_once() -> None:
    answers = probe(["localhost", "nowhere.invalid", "a" * 70 + ".invalid"], [("127.0.0.1", 1)])
    assert "127.0.0.1" in answers["names"]["localhost"]
    assert isinstance(answers["names"]["nowhere.invalid"], str)
    assert isinstance(answers["names"]["a" * 70 + ".invalid"], str)
    assert answers["targets"] == {"127.0.0.1:1": "Connection refused"}
