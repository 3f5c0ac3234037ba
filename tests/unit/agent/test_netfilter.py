"""Openings in chains of nftables and iptables: the kernel's own, in a network namespace that ends with the test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import needs

pytestmark = [needs.root(), needs.command("nft", package="nftables"), needs.command("iptables")]

PROGRAM = """
import json, subprocess, sys
from pathlib import Path
from hubfleet.agent import atboot, dockerengine, netfilter, opening
from hubfleet.resources.base import Change
from hubfleet.resources.opening import Opening

given = json.loads(sys.argv[1])
netfilter.FOLDER = atboot.UNITS = Path(given["place"]) / "openings"
dockerengine.SYSTEMD = Path("/nowhere")
wanted = Opening("lab", (("10.0.0.9", "tcp/2377"), ("10.0.0.10", "udp/4789"), ("10.0.0.10", "esp")),
                 (("anybody", "tcp/443"), ("10.0.0.9", "tcp/7445")))
fewer, other = Opening("lab", wanted.ways[:1]), Opening("other", wanted.ways[:2])
said = []
for step in given["steps"]:
    if step in ("wanted", "fewer", "other"):
        one = {"wanted": wanted, "fewer": fewer, "other": other}[step]
        change = one.diff(opening.observe(one))
        if change:
            opening.apply(one, change, lambda line: None)
        said.append([change and change.action, one.diff(opening.observe(one)) is None])
    elif step.startswith("remove "):
        one = {"lab": wanted, "other": other}[step.split()[1]]
        opening.apply(one, one.removal(opening.observe(one)), lambda line: None)
        said.append(one.absent(opening.observe(one)))
    elif step == "firewalls":
        said.append(opening.firewalls())
    else:
        done = subprocess.run(step, shell=True, capture_output=True, text=True)
        said.append(done.stdout + done.stderr)
print(json.dumps(said))
"""
CLOSED = """
table inet filter {
    chain last { reject; }
    chain input { type filter hook input priority 0; policy accept; ct state established accept; tcp dport 22 accept;
        counter jump last; }
    chain forward { type filter hook forward priority 0; policy drop; }
}
"""
OPEN = """
table inet filter {
    chain input { type filter hook input priority 0; policy accept; ct state invalid drop; tcp dport 2377 drop; }
}
"""


def inside(place: Path, rules: str, *steps: str) -> list[Any]:
    """What each step says, in a namespace with these rules."""
    (place / "begin.nft").write_text(rules)
    given = json.dumps({"place": str(place), "steps": [f"nft -f {place}/begin.nft", *steps]})
    command = ["unshare", "--net", sys.executable, "-c", PROGRAM, given]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *said = json.loads(done.stdout)
    assert first == ""
    return list(said)


def test_a_chain_that_names_what_it_lets_in_gets_our_rules_first_and_loses_them_again(tmp_path: Path) -> None:
    listing = "nft list chain inet filter input; nft list chain inet filter forward"
    before, made, after, gone, last = inside(tmp_path, CLOSED, listing, "wanted", listing, "remove lab", listing)
    assert made == ["create", True]
    chain = after.partition("chain forward")[0]
    assert chain.index('ip saddr 10.0.0.9 tcp dport 2377 accept comment "hubfleet lab"') < chain.index("established")
    assert "ip saddr 10.0.0.10 meta l4proto esp accept" in chain
    assert "443" not in chain
    passed = after.partition("chain forward")[2]
    assert 'ct status dnat ct original proto-dst 443 accept comment "hubfleet lab"' in passed
    assert "ct original ip saddr 10.0.0.9 ct original proto-dst 7445 accept" in passed
    assert "2377" not in passed
    assert gone is True
    assert last == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["begin.nft"]


def test_a_chain_that_lets_in_all_else_is_left(tmp_path: Path) -> None:
    assert inside(tmp_path, OPEN, "firewalls", "wanted") == [[], [None, True]]


def test_it_comes_back_after_somebody_has_loaded_the_rules_anew(tmp_path: Path) -> None:
    reload = f"nft flush ruleset; nft -f {tmp_path}/begin.nft"
    again = f"sh {tmp_path}/openings/lab.sh; sh {tmp_path}/openings/lab.sh; nft list ruleset | grep -c 'hubfleet lab'"
    _, _, lost, _, _, count, end = inside(tmp_path, CLOSED, "wanted", reload, "wanted", reload, "true", again, "wanted")
    assert lost == ["update", True]
    assert count.strip() == "5", "each once, however often it is run"
    assert end == [None, True]


def test_each_hub_has_its_own_rules(tmp_path: Path) -> None:
    count = "nft list chain inet filter input | grep -c hubfleet"
    said = inside(tmp_path, CLOSED, "wanted", "other", count, "remove lab", count, "other", "remove other", "firewalls")
    assert said[2].strip() == "5"
    assert said[4].strip() == "2"
    assert said[5] == [None, True]
    assert said[7] == ["nftables inet filter input", "nftables inet filter forward"]


def test_an_address_less(tmp_path: Path) -> None:
    said = inside(tmp_path, CLOSED, "wanted", "fewer", "nft list ruleset | grep hubfleet")
    assert said[1] == ["update", True]
    assert said[2].strip() == 'ip saddr 10.0.0.9 tcp dport 2377 accept comment "hubfleet lab"'


@pytest.mark.parametrize("closes", ["iptables -P INPUT DROP", "iptables -A INPUT -j REJECT"])
def test_iptables(tmp_path: Path, closes: str) -> None:
    listing = "iptables -S INPUT"
    said = inside(
        tmp_path,
        "",
        closes,
        listing,
        "wanted",
        listing,
        "other",
        "fewer",
        listing,
        "remove lab",
        "remove other",
        listing,
    )
    assert said[2] == ["create", True]
    added = [line for line in said[3].splitlines() if line not in said[1].splitlines()]
    assert '-A INPUT -s 10.0.0.9/32 -p tcp -m tcp --dport 2377 -m comment --comment "hubfleet lab" -j ACCEPT' in added
    assert len(added) == 3
    assert said[3].splitlines().index(added[0]) == 1
    assert said[6].count('"hubfleet lab"') == 1
    assert said[6].count('"hubfleet other"') == 2
    assert said[9] == said[1]


def test_iptables_that_lets_in_all_is_left(tmp_path: Path) -> None:
    assert inside(tmp_path, "", "iptables -A INPUT -p tcp --dport 2377 -j DROP", "firewalls", "wanted")[1:] == [
        [],
        [None, True],
    ]
