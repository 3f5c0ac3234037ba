"""Judgements about the network, over tables of what was asked: no machine, no network."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hubfleet import networkchecks
from hubfleet.agent.outside import probe
from hubfleet.agent.registry import Reference
from hubfleet.agent.sources import sources
from hubfleet.certificates import Certificate, read_certificate
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
    ("settings", "reached"),
    [
        ({}, []),
        ({"domain": NAME}, ["acme-v02.api.letsencrypt.org:443"]),
        (
            {"domain": NAME, "https": {"acme": "https://ca.example.edu:9443/x"}},
            ["ca.example.edu:9443"],
        ),
        ({"network": {"proxy": "http://proxy.example.edu:3128"}}, ["proxy.example.edu:3128"]),
        ({"network": {"package_index": "https://mirror.example.edu/simple"}}, ["mirror.example.edu:443"]),
    ],
)
def test_what_the_machine_has_to_reach(settings: dict[str, Any], reached: list[str]) -> None:
    assert [target.key for target in networkchecks.targets(config(**settings))] == reached


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"domain": NAME}, None),
        ({}, None),
        ({"listen": {"address": "::1"}}, None),
        ({"https": "self-signed"}, "browsers warn of the hub"),
        ({"https": "self-signed", "domain": NAME}, "browsers warn of the hub"),
        ({"listen": {"address": "0.0.0.0", "port": 8080}}, "unencrypted to 0.0.0.0:8080"),
        ({"https": "off", "domain": NAME, "listen": {"address": "203.0.113.10"}}, "unencrypted to 203.0.113.10:8000"),
        ({"listen": {"address": "0.0.0.0", "trusted_proxies": ["192.0.2.7"]}}, None),
    ],
)
def test_who_could_listen_on_the_way_is_told(settings: dict[str, Any], words: str | None) -> None:
    said = list(networkchecks.encryption(config(**settings)))
    assert [words in text for text in said] == ([True] if words else []), said
    assert all("Try: " in text for text in said)


def test_what_builds_will_ask_is_known_from_tools_and_settings() -> None:
    usual = f"{urlsplit(networkchecks.usual_index()).hostname}:443"
    assert "." in usual
    debian, npm, theirs = (
        "http://deb.example.org",
        "https://npm.example.org/",
        "https://ann:canary@pip.example.edu:8443",
    )
    wanted = networkchecks.for_builds(config(), {"apt": [debian, debian], "npm": [npm], "pip": [theirs]})
    assert [one.key for one in wanted] == ["deb.example.org:80", "npm.example.org:443", usual]
    assert {one.level for one in wanted} == {"note"}
    assert "network.package_index: the one at pip.example.edu, which its own pip asks" in wanted[-1].remedy
    assert "canary" not in str(wanted)
    given = config(network={"package_index": "https://mirror.example.edu/simple"})
    assert [one.key for one in networkchecks.for_builds(given, {"apt": [debian]})] == ["deb.example.org:80"]
    behind = config(network={"proxy": "http://proxy.example.edu:3128"})
    assert networkchecks.for_builds(behind, {"apt": [debian], "pip": [theirs]}) == []
    assert [one.key for one in networkchecks.for_builds(config(), {})] == [usual]


def test_tools_say_themselves_whom_they_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "apt-config": "echo $*; echo DIRECT; echo http://proxy.example.edu:3128/",
        "apt-get": "echo \"'http://deb.example.org/debian/dists/bookworm/InRelease' deb_InRelease 0 \"",
        "npm": "echo https://npm.example.org/",
    }
    for name, script in answers.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr("hubfleet.agent.docker.PLACES", "/nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example.edu/simple")
    expected = {"apt": ["http://proxy.example.edu:3128"], "pip": ["https://pip.example.edu"]}
    assert sources() == {**expected, "npm": ["https://npm.example.org"]}
    (tmp_path / "apt-config").write_text("#!/bin/sh\n")
    (tmp_path / "npm").write_text("#!/bin/sh\nexit 1\n")
    assert sources() == {**expected, "apt": ["http://deb.example.org"]}
    (tmp_path / "apt-get").unlink()
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    assert sources() == {}


@pytest.mark.parametrize(
    ("image", "registry", "repository", "version"),
    [
        ("debian:12-slim", "docker.io", "library/debian", "12-slim"),
        ("docker.io/debian:12", "docker.io", "library/debian", "12"),
        ("jupyter/scipy-notebook:1", "docker.io", "jupyter/scipy-notebook", "1"),
        ("quay.io/jupyter/scipy-notebook:1", "quay.io", "jupyter/scipy-notebook", "1"),
        ("registry.example.edu:5000/ours:1", "registry.example.edu:5000", "ours", "1"),
        ("localhost/a/b@sha256:00ff", "localhost", "a/b", "sha256:00ff"),
        ("quay.io/ours:1@sha256:00ff", "quay.io", "ours", "sha256:00ff"),
    ],
)
def test_an_images_name(image: str, registry: str, repository: str, version: str) -> None:
    assert Reference.of(image) == Reference(registry, repository, version)


@pytest.mark.parametrize(
    ("verdict", "level", "words", "remedy"),
    [
        ("there", "ok", "image quay.io/ours/base:1 is in its registry (quay.io)", ""),
        ("absent", "problem", "is not in its registry, which quay.io is", "correct servers.image"),
        ("refused", "problem", "to who has no account there, or has no such image (why)", "or bring it there: docker"),
        ("untrusted", "problem", "the certificate of quay.io, the registry of", "network: {ca_bundle: site-ca.crt}"),
        ("trouble", "note", "quay.io does not say whether it has image", ""),
        ("unreachable", "problem", "quay.io cannot be reached from there (why)", "docker save quay.io/ours/base:1 | s"),
    ],
)
def test_what_a_registry_says_is_told_with_what_to_do(verdict: str, level: str, words: str, remedy: str) -> None:
    image = "quay.io/ours/base:1"
    given = config(servers={"image": image})
    if "servers.image" in remedy:
        (of_hub,) = networkchecks.images(config(hub_image=image), {image: (verdict, "why")}, docker=True)
        assert "correct hub_image" in of_hub.text
    (found,) = networkchecks.images(given, {image: (verdict, "why")}, docker=True)
    assert (found.level, words in found.text) == (level, True), found
    assert remedy in found.text.partition("Try: ")[2]
    (bare,) = networkchecks.images(given, {image: (verdict, "why")}, docker=False)
    assert ("apt install docker.io there, and then " in bare.text) == ("docker save" in found.text)


@pytest.mark.parametrize(
    ("verdict", "gives", "level", "words", "remedy"),
    [
        ("there", False, "ok", "registry.example.edu/hubs, by which images go from machine to machine, is open to", ""),
        ("absent", True, "ok", "takes them from here", ""),
        ("refused", False, "problem", "refuses to give hubs/hubfleet/users (why)", "docker login registry.example.edu"),
        ("refused", True, "problem", "refuses to take hubs/hubfleet/users (why)", "there, as root"),
        ("untrusted", True, "problem", "is not trusted there (why)", "network: {ca_bundle: site-ca.crt}"),
        ("trouble", True, "problem", "does not answer as a registry does (why)", "correct network.fleet.registry"),
        ("unreachable", False, "problem", "cannot be reached from there (why)", "a registry of the fleet's own"),
        ("sealed", False, "problem", "cannot be used: why", ""),
    ],
)
def test_the_registry_between_machines(verdict: str, gives: bool, level: str, words: str, remedy: str) -> None:
    """One finding for all images; what is wrong with one of them counts."""
    name = "registry.example.edu/hubs"
    given = config(network={"fleet": {"registry": name}})
    said = {f"{name}/hubfleet/guard:1": ("there", ""), f"{name}/hubfleet/users:1": (verdict, "why")}
    (found,) = networkchecks.registry(given, said, gives=gives, docker=True)
    assert (found.level, words in found.text) == (level, True), found
    assert remedy in found.text.partition("Try: ")[2]
    (bare,) = networkchecks.registry(given, said, gives=gives, docker=False)
    assert ("apt install docker.io there; docker login" in bare.text) == (verdict == "refused")
    assert list(networkchecks.registry(config(), {}, gives=gives, docker=True)) == []


def test_who_logs_in_with_an_authority_of_the_sites_has_docker_trust_it_first(tmp_path: Path) -> None:
    (tmp_path / "site-ca.crt").write_text("")
    given = config(network={"ca_bundle": str(tmp_path / "site-ca.crt"), "fleet": {"registry": "10.0.0.5:5000"}})
    (found,) = networkchecks.registry(given, {"10.0.0.5:5000/a:1": ("refused", "why")}, gives=True, docker=True)
    assert "as /etc/docker/certs.d/10.0.0.5:5000/ca.crt; docker login 10.0.0.5:5000, there" in found.text


def test_what_it_does_not_reach_is_told_with_what_to_do() -> None:
    wanted = networkchecks.targets(config(domain=NAME))
    (found,) = networkchecks.outside(wanted, dict.fromkeys((target.key for target in wanted), "Connection refused"))
    assert (found.level, "Try: " in found.text) == ("note", True)
    assert {one.level for one in networkchecks.outside(wanted, {one.key: "" for one in wanted})} == {"ok"}
    wanted = networkchecks.targets(config(network={"package_index": "https://mirror.example.edu/simple"}))
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


def test_one_that_has_expired_refuses_nothing_to_a_hub_that_has_it_already(tmp_path: Path) -> None:
    certificate, key = make_pair(NAME, starts=-90, ends=-1).write(tmp_path)
    given = config(domain=NAME, https={"certificate": str(certificate), "key": str(key)})
    shown = read_certificate(certificate.read_bytes())
    (found,) = networkchecks.certificate(given, shown=lambda: shown)
    assert (found.level, "The hub has it already" in found.text) == ("note", True), found
    assert "the certificate expired on" in found.text
    assert "Try: put the new one into its place" in found.text

    def none() -> Certificate:
        raise ConnectionRefusedError

    other = read_certificate(make_pair(NAME).pem)
    for ask in (lambda: None, lambda: other, none):
        assert [found.level for found in networkchecks.certificate(given, shown=ask)] == ["problem"]


def test_a_certificate_among_the_secrets() -> None:
    pair, given = make_pair(NAME), config(domain=NAME, https="secrets")
    secrets = {"https_certificate": pair.pem.decode(), "https_key": pair.key_pem.decode()}
    (found,) = networkchecks.certificate(given, secrets=secrets)
    assert (found.level, found.text) == ("ok", "https_certificate belongs to its key and is good for 89 days")
    (found,) = networkchecks.certificate(given, secrets={**secrets, "https_key": make_pair(NAME).key_pem.decode()})
    assert found.level == "problem"
    assert found.text.startswith("https_key: key does not match certificate")
    assert list(networkchecks.certificate(given)) == []


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


@pytest.mark.parametrize(
    ("why", "up", "level", "words"),
    [
        ("", True, "ok", "front reaches hub1 at 10.0.0.10, TCP port 7443"),
        ("Connection refused", False, "ok", "nothing listens yet"),
        ("Connection refused", True, "problem", "(Connection refused). Try: let front through to that port"),
        ("no answer within 5 s", False, "problem", "machines.hub1.private_ip"),
        ("No route to host", True, "problem", "front does not reach hub1"),
    ],
)
def test_the_line_between_two_machines(why: str, up: bool, level: str, words: str) -> None:
    found = networkchecks.linked("front", "hub1", ("10.0.0.10", 7443), why, up)
    assert (found.level, words in found.text) == (level, True), found


def test_the_edges_container_has_no_way_to_an_address_of_version_6() -> None:
    """Its machine may have one, so that a look from there says nothing."""
    found = networkchecks.linked("front", "hub1", ("2001:db8::7", 7443), "", True)
    assert (found.level, "Try: machines.hub1.private_ip: its IPv4 address" in found.text) == ("problem", True), found


def test_the_private_address_is_the_machines() -> None:
    hub1 = {"ssh": "a", "roles": ["hub"], "private_ip": "10.0.0.10"}
    given = config(machines={"hub1": hub1, "front": {"ssh": "b", "roles": ["edge"]}})
    assert list(networkchecks.listens_at(given, "hub1", {"addresses": ["10.0.0.10"]})) == []
    (found,) = networkchecks.listens_at(given, "hub1", {"addresses": ["10.0.0.11"]})
    assert (found.level, "one of 10.0.0.11" in found.text) == ("problem", True)


def test_names_and_targets_are_asked_at_once() -> None:
    answers = probe(["localhost", "nowhere.invalid", "a" * 70 + ".invalid"], [("127.0.0.1", 1)])
    assert "127.0.0.1" in answers["names"]["localhost"]
    assert isinstance(answers["names"]["nowhere.invalid"], str)
    assert isinstance(answers["names"]["a" * 70 + ".invalid"], str)
    assert answers["targets"] == {"127.0.0.1:1": "Connection refused"}
