"""Login names become system names: safe, unique, stable, short enough for every path they go into."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.layout import Layout
from hubfleet.names import MAX_LENGTH, server_id, short_id, system_name

SAFE = re.compile(r"[a-z][a-z0-9_-]*")
SOCKET_BYTES = 107
MILLION = 1_000_000

# What has made trouble elsewhere: other names with the same slug, and what paths, shells and listings take for theirs.
ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "aA-_.",
    "../\\~$ \t\n%{}:;@",
    "aàáâãäåāăąＡⓐａªαа",  # noqa: RUF001 - that they look alike is the point
    "\u0000\u200b\u202e\u0301\ufeff😀字कㄱ",
    "-",
    "0123456789",
)
ODD = (
    "..",
    ".",
    "-",
    "--",
    "_",
    "root",
    "ROOT",
    "a--b",
    "a-",
    "-a",
    "1",
    "ada ",
    "u",
    "u--",
    "con",
    "~",
    "*",
    "a" * 255,
)


def _million() -> Iterator[str]:
    """Different names: random ones from each alphabet, near misses of each other, and long ones that end alike."""
    yield from ODD
    chance = random.Random(20_240_229)
    seen = set(ODD)
    while len(seen) < MILLION:
        alphabet = ALPHABETS[chance.randrange(len(ALPHABETS))] + ALPHABETS[chance.randrange(3)]
        name = "".join(chance.choices(alphabet, k=chance.choice((3, 5, 8, 13, 29, 31, 60))))
        for variant in (name, name.upper(), f"{name}-", f".{name}", name * 3):
            if variant not in seen:
                seen.add(variant)
                yield variant


@pytest.mark.timeout(120)
def test_a_million_names_do_not_meet_and_do_not_escape() -> None:
    names = 0
    found: set[str] = set()
    for login in _million():
        names += 1
        name = system_name(login)
        assert len(name) <= MAX_LENGTH, login
        assert SAFE.fullmatch(name), login
        found.add(name)
    assert names >= MILLION
    assert len(found) == names


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_two_names(one: str, other: str) -> None:
    assert SAFE.fullmatch(system_name(one))
    assert (system_name(one) == system_name(other)) == (one == other)


# These stand in the paths of people's homes: a change to the rule would give everybody an empty one.
@pytest.mark.parametrize(
    ("login", "name"),
    [
        ("alice", "alice"),
        ("ta_1", "ta_1"),
        ("a-b", "a-b"),
        ("a" * 30, "a" * 30),
        ("a" * 31, "aaaaaaaaaaaa--61c60b487d1a921e"),
        ("Ada Lovelace", "ada-lovelace--7674021617159190"),
        ("ada@example.org", "ada-example--cfe00dde46ef9426"),
        ("..", "u--5ec1f7e700f37c3d"),
        ("../../etc/passwd", "etc-passwd--3754d6cb3a38e118"),
        ("root", "root--4813494d137e1631"),
        ("a--b", "a-b--90827a2e56361a8f"),
        ("42", "u42--73475cb40a568e8d"),
        ("Žofie", "zofie--e496d85a01fefb32"),
        ("李", "u--c16667ca7839a011"),
        ("\ud800", "u--91a681b998555fb4"),
    ],
)
def test_names_never_change(login: str, name: str) -> None:
    assert system_name(login) == name


def test_no_name_for_nobody() -> None:
    with pytest.raises(ValueError, match="empty"):
        system_name("")


def test_servers_of_different_people_do_not_meet() -> None:
    logins = ("a", "a.b", "a b", "A", "a-b", "a--b", "a.b.c", "..")
    pairs = [(login, server) for login in logins for server in ("", *logins, "b.c")]
    identifiers = {server_id(*pair) for pair in pairs}
    assert len(identifiers) == len(pairs)
    assert len({short_id(identifier) for identifier in identifiers}) == len(pairs)
    assert all(re.fullmatch(r"[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)?", identifier) for identifier in identifiers)


@pytest.mark.parametrize("base", ["/", "/var/lib/hubfleet", "/home/Ada/.local/share/hubfleet", "/srv/" + "ä" * 40])
@pytest.mark.parametrize("hub", ["a", "x" * 40, "x." * 19 + "xx"])
@pytest.mark.parametrize("privileged", [True, False])
def test_every_socket_path_fits(base: str, hub: str, privileged: bool) -> None:
    layout = Layout(hub, Path(base), privileged)
    server = layout.servers_run / short_id(server_id("x" * 255, "y" * 255)) / "server.sock"
    for path in (layout.hub_socket, layout.proxy_socket, layout.launcher_socket, server):
        assert len(os.fsencode(path)) <= SOCKET_BYTES
        assert str(path) == str(path).lower(), "JupyterHub keeps addresses in lower case"


def test_hubs_on_one_machine_share_one_table_of_user_ids() -> None:
    tables = {Layout(hub, Path(base), True).uids for hub in ("a", "b") for base in ("/var/lib/hubfleet", "/srv/other")}
    assert len(tables) == 1
