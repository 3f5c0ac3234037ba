"""What a machine's firewalls are to leave open, compared with what they do; none is asked."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from hubfleet.agent import converge
from hubfleet.errors import CheckError
from hubfleet.parcel import parcel
from hubfleet.resources import Opening, from_json
from hubfleet.resources.opening import ANYBODY, said

A, B = "10.0.0.9", "10.0.0.10"
WAYS = ((A, "tcp/2377"), (A, "udp/4789"), (B, "tcp/2377"))
OPENING = Opening("lab", WAYS, ((ANYBODY, "tcp/443"),))


def seen(**firewalls: dict[str, Any]) -> dict[str, Any]:
    usual = {"active": True, "passes": False, "now": [], "kept": [], "given": []}
    return {"firewalls": {name: {**usual, **one} for name, one in firewalls.items()}, "unsaved": ""}


def listed(*ways: tuple[str, str]) -> list[list[str]]:
    """As JSON has them."""
    return [list(way) for way in ways]


OPEN = {"now": listed(*WAYS), "kept": listed(*WAYS)}


def test_json_there_and_back_and_the_agent_that_is_sent_knows_it() -> None:
    assert from_json(json.loads(json.dumps(OPENING.to_json()))) == OPENING
    assert converge.handler("opening")
    names = zipfile.ZipFile(io.BytesIO(parcel())).namelist()
    assert {"hubfleet/agent/opening.py", "hubfleet/agent/ufw.py", "hubfleet/resources/opening.py"} <= set(names)


def test_without_a_firewall_there_is_nothing_to_do() -> None:
    assert OPENING.diff(seen()) is None
    assert OPENING.absent(seen())
    assert OPENING.removal(seen()) is None


def test_what_is_open_is_left_and_what_is_not_is_told() -> None:
    assert OPENING.diff(seen(ufw=OPEN)) is None
    change = OPENING.diff(seen(ufw={}))
    assert change
    assert (change.action, change.detail) == (
        "create",
        ("ufw lets in 10.0.0.9 at TCP 2377, UDP 4789; 10.0.0.10 at TCP 2377",),
    )
    again = OPENING.diff(seen(ufw={**OPEN, "kept": listed(WAYS[0], WAYS[1])}))
    assert again
    assert (again.action, again.detail) == ("update", ("ufw lets in 10.0.0.10 at TCP 2377",))


def test_what_others_let_in_needs_no_rule_of_ours() -> None:
    assert OPENING.diff(seen(ufw={"given": listed(*WAYS)})) is None


def test_an_address_that_is_no_more_is_let_in_no_more() -> None:
    change = Opening("lab", WAYS[:2]).diff(seen(ufw=OPEN))
    assert change
    assert change.detail == ("ufw lets in no more 10.0.0.10 at TCP 2377",)
    off = OPENING.diff(seen(ufw={**OPEN, "active": False}))
    assert off
    assert off.detail[0].startswith("ufw lets in no more 10.0.0.9 at")


def test_what_is_passed_on_is_another_matter() -> None:
    assert OPENING.diff(seen(forward={"passes": True, "now": listed((ANYBODY, "tcp/443"))})) is not None
    kept = {"now": listed((ANYBODY, "tcp/443")), "kept": listed((ANYBODY, "tcp/443"))}
    assert OPENING.diff(seen(forward={"passes": True, **kept})) is None


def test_ours_alone_is_removed() -> None:
    assert OPENING.absent(seen(ufw={"given": listed(*WAYS)}))
    change = OPENING.removal(seen(ufw=OPEN, other={}))
    assert change
    assert change.detail == ("ufw: other machines are let in no more for this hub",)


def test_what_others_have_changed_for_the_moment_is_not_undone() -> None:
    there = {**seen(firewalld={}), "unsaved": "firewalld has changes that are not kept (zone public)"}
    with pytest.raises(CheckError, match=r"zone public\), which .* It was left as it is. Try: there, firewall-cmd"):
        OPENING.diff(there)
    assert OPENING.diff({**there, "firewalls": seen(firewalld=OPEN)["firewalls"]}) is None


def test_ways_in_words() -> None:
    ways = [(source, what) for source in (B, A) for what in ("udp/7946", "tcp/7946", "esp", "tcp/2377")]
    assert said(ways) == "10.0.0.9 and 10.0.0.10 at TCP 2377 and 7946, UDP 7946, ESP"
    assert said([*ways[:1], (ANYBODY, "tcp/443")]) == "10.0.0.10 at UDP 7946; anybody at TCP 443"
