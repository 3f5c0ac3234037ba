"""The guard's rules as text, and what it says of itself. That the rules work is shown in tests/fleet."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest

import needs
from hubfleet import guard
from hubfleet.guard import state
from hubfleet.guard.namespaces import candidates, inside
from hubfleet.guard.rules import hub_addresses, rules

SUBNET = IPv4Network("10.88.0.0/20")
DOORS = (("10.88.0.2", 8081), ("10.88.0.4", 7446))


def test_what_may_pass() -> None:
    text = rules(SUBNET, DOORS)
    lines = [line.strip() for line in text.splitlines()]
    first, last = lines.index("chain forward {"), lines.index("}")
    assert lines[first + 1 : last] == [
        "type filter hook forward priority -200; policy drop;",
        "ether type arp accept",
        "ip saddr 10.88.0.0/26 ip daddr 10.88.0.0/20 meta l4proto tcp accept",
        "ip saddr 10.88.0.0/20 ip daddr 10.88.0.0/26 tcp flags & (syn | ack) != syn accept",
        "ip saddr 10.88.0.0/20 ip daddr 10.88.0.2 tcp dport 8081 accept",
        "ip saddr 10.88.0.0/20 ip daddr 10.88.0.4 tcp dport 7446 accept",
    ]


@needs.root()
@needs.command("nft", package="nftables")
def test_the_kernels_tool_takes_the_rules() -> None:
    checked = ["unshare", "--net", "nft", "--check", "-f", "-"]
    done = subprocess.run(checked, input=rules(SUBNET, DOORS), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_subnet_has_room_for_the_hub_and_for_servers() -> None:
    assert str(hub_addresses(IPv4Network("10.1.0.0/25"))) == "10.1.0.0/26"
    with pytest.raises(ValueError, match=r"10.1.0.0/26 is too small"):
        hub_addresses(IPv4Network("10.1.0.0/26"))


def test_its_program_and_what_asks_after_it() -> None:
    words = guard.command("python3", str(SUBNET), DOORS)
    assert words == (
        *("python3", "-m", "hubfleet.guard.daemon"),
        *("--open", "10.88.0.2:8081", "--open", "10.88.0.4:7446", "10.88.0.0/20"),
    )
    assert guard.health("python3") == ("python3", "-m", "hubfleet.guard.health")


def test_it_is_well_only_while_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "guard.json"
    assert state.problem(place) == "the guard has not begun"
    state.say("", place)
    assert state.problem(place) == ""
    state.say("nft is away", place)
    assert state.problem(place) == "nft is away"
    state.say("", place)
    later = time.monotonic() + state.LIMIT_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert state.problem(place) == "the guard has said nothing for 11 s"


@pytest.mark.skipif(state.PLACE.exists(), reason="a guard runs on this machine")
def test_the_health_check_fails_in_words() -> None:
    done = subprocess.run([sys.executable, "-m", "hubfleet.guard.health"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "the guard has not begun\n")


def test_only_namespaces_of_networks_between_machines_are_looked_at(tmp_path: Path) -> None:
    assert list(candidates(tmp_path / "none")) == []
    for name in ("1-uguiro46vk", "2-uguiro46vk", "11ed2f755c0a", "ingress_sbox", "lb_uguiro46v", "default"):
        (tmp_path / name).touch()
    assert [path.name for path in candidates(tmp_path)] == ["1-uguiro46vk", "2-uguiro46vk"]


@needs.root()
def test_what_is_no_namespace_is_an_error_and_one_is_left_again(tmp_path: Path) -> None:
    own = os.stat("/proc/self/ns/net").st_ino
    (tmp_path / "1-file").touch()
    with pytest.raises(OSError, match="Invalid argument"), inside(tmp_path / "1-file"):
        pass
    with inside(Path("/proc/self/ns/net")) as number:
        assert number == own
    assert os.stat("/proc/thread-self/ns/net").st_ino == own
