"""Lines and configuration of the gate, as sshd is to read them; tests/ssh/test_gate.py shows what they are good for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hubfleet.engines.slurm.gate import Gate, Place, forward_line, keys_file, line, new_key, sshd_config

KEY = new_key().public
API = Place("127.0.0.1", 8081)
GATE = Gate("hubfleet-tunnel", 2222, Path("/srv/hubfleet/gate/host_key"), Path("/srv/hubfleet/gate/keys"))


def test_a_line_permits_one_port_and_the_api() -> None:
    assert line(KEY, 20001, API, "hubfleet-ada@demo", ["10.0.0.0/8", "2001:db8::1"]) == (
        'restrict,port-forwarding,command="/bin/false",permitlisten="127.0.0.1:20001",permitopen="127.0.0.1:8081",'
        f'from="10.0.0.0/8,2001:db8::1" {KEY} hubfleet-ada@demo'
    )
    assert line(KEY, 20001).split(" ")[0].endswith('permitlisten="127.0.0.1:20001",permitopen="127.0.0.1:1"')


def test_the_other_way_round_a_line_permits_servers_only() -> None:
    assert forward_line(KEY, [Place("c1", 30001), Place("c2", 30002)]) == (
        'restrict,port-forwarding,command="/bin/false",permitlisten="127.0.0.1:1",permitopen="c1:30001",'
        f'permitopen="c2:30002" {KEY}'
    )
    assert 'permitopen="127.0.0.1:1"' in forward_line(KEY, [])


def test_all_that_is_not_needed_is_off() -> None:
    config = sshd_config(GATE)
    for words in (
        *("AllowUsers hubfleet-tunnel", "AuthenticationMethods publickey", "ForceCommand /bin/false", "MaxSessions 0"),
        *("PermitTTY no", "GatewayPorts no", "AllowStreamLocalForwarding no", "AllowAgentForwarding no"),
        *("X11Forwarding no", "PermitTunnel no", "PermitUserRC no", "PasswordAuthentication no", "PermitRootLogin no"),
        *("AllowTcpForwarding remote", "PermitOpen none"),
    ):
        assert f"\n{words}\n" in config
    assert "\nSubsystem" not in config
    keywords = [row.split(" ")[0] for row in config.splitlines()]
    assert len(keywords) == len(set(keywords))


def test_a_key_is_a_new_one_each_time_and_is_not_shown() -> None:
    one, other = new_key(), new_key()
    assert one.public != other.public
    assert one.private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert "PRIVATE" not in repr(one)
    assert one.private[50:90] not in f"{one}"


def test_the_file_is_the_same_whatever_the_order() -> None:
    lines = [line(new_key().public, 20000 + number) for number in range(3)]
    assert keys_file(lines) == keys_file(reversed(lines))
    assert keys_file([]) == ""


@given(some.text(max_size=60), some.text(max_size=60), some.text(max_size=30), some.integers(), some.text(max_size=30))
def test_nothing_adds_an_option_or_a_line(key: str, host: str, note: str, port: int, source: str) -> None:
    makers = (
        lambda: line(key, 20001),
        lambda: line(KEY, port),
        lambda: line(KEY, 20001, Place(host, 8081)),
        lambda: line(KEY, 20001, Place("h", port)),
        lambda: line(KEY, 20001, note=note),
        lambda: line(KEY, 20001, sources=[source]),
        lambda: forward_line(KEY, [Place(host, port)], note),
    )
    for make in makers:
        try:
            made = make()
        except ValueError:
            continue
        options, *rest = made.split(" ")
        assert made.isprintable()
        assert made.isascii()
        assert len(rest) in (2, 3)
        assert options.count('"') in (6, 8)


@pytest.mark.parametrize(
    "gate",
    [
        Gate("a b", 22, GATE.host_key, GATE.keys),
        Gate("root\nPermitRootLogin yes", 22, GATE.host_key, GATE.keys),
        Gate("t", 22, Path("/a b"), GATE.keys),
        Gate("t", 22, GATE.host_key, Path("/a\nb")),
        Gate("t", 22, GATE.host_key, GATE.keys, address="a\nb"),
        Gate("t", 22, GATE.host_key, GATE.keys, api=Place("a b", 1)),
    ],
)
def test_what_cannot_be_written_is_refused(gate: Gate) -> None:
    with pytest.raises(ValueError):
        sshd_config(gate)
