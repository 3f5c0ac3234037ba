"""What arrives past a firewall, whoever listens: the kernel's own, in a network namespace that ends with the test."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import needs

pytestmark = [needs.root(), needs.command("nft", package="nftables"), needs.command("ip", package="iproute2")]

PROGRAM = """
import json, subprocess, sys
from hubfleet.agent import encryption, ways

subprocess.run("ip link set lo up; " + sys.argv[1], shell=True, check=True)
whats = json.loads(sys.argv[2])
ways.listen("mark")
unsent = ways.call(sys.argv[3], sys.argv[4], [("127.0.0.1", what) for what in whats])
print(json.dumps([unsent, ways.heard([(sys.argv[4], what) for what in whats]), encryption.encrypts()]))
"""
ALL = ["tcp/2377", "udp/4789", "esp"]
CHAIN = "nft add table inet f && nft add chain inet f in '{ type filter hook input priority 0; }'"


def tried(rules: str, mark: str = "mark", sender: str = "127.0.0.1") -> list[Any]:
    command = ["unshare", "--net", sys.executable, "-c", PROGRAM, rules, json.dumps(ALL), mark, sender]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def lacking(*whats: str) -> list[list[str]]:
    return [["127.0.0.1", what] for what in sorted(whats)]


def test_what_nothing_stops_arrives_though_nobody_listens() -> None:
    unsent, missing, _ = tried("true")
    assert (unsent, missing) == ([], [])


@pytest.mark.parametrize(
    "rules", [{"tcp dport 2377": "tcp/2377"}, {"udp dport 4789": "udp/4789", "meta l4proto esp": "esp"}]
)
def test_what_is_stopped_is_told(rules: dict[str, str]) -> None:
    stops = [f"nft add rule inet f in {rule} drop" for rule in rules]
    assert tried(" && ".join([CHAIN, *stops]))[1] == lacking(*rules.values())


def test_what_others_send_to_the_same_port_is_not_taken_for_ours() -> None:
    """A connection is known by its first packet; all else has the mark."""
    assert tried("true", mark="another")[1] == lacking("udp/4789", "esp")


def test_what_comes_from_another_address_than_it_was_sent_from_is_told_with_that() -> None:
    """TCP has no words of ours in it."""
    found = tried("true", sender="10.0.0.9")[1]
    assert found == [
        ["10.0.0.9", "esp", "127.0.0.1"],
        ["10.0.0.9", "tcp/2377"],
        ["10.0.0.9", "udp/4789", "127.0.0.1"],
    ]


def test_whether_the_kernel_can_encrypt_is_found_without_leaving_anything() -> None:
    """As the kernel's own configuration has it, where that can be seen."""
    said = tried("true")[2]
    shown = subprocess.run("zcat /proc/config.gz", shell=True, capture_output=True, text=True).stdout
    if "CONFIG_INET_ESP" in shown:
        assert said is ("# CONFIG_INET_ESP is not set" not in shown)
    assert "0x00001001" not in subprocess.run(["ip", "xfrm", "state"], capture_output=True, text=True).stdout
