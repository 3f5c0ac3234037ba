"""`hubfleet check` on a real machine: what would fail is found before anything is changed, and named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dockerd
import pytest
from hubs_there import findings, serve, write_files
from machines import Lab, Machine

import command
import needs
from waiting import soon

pytestmark = needs.machines(900)


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Machine:
    """With Docker, and the image that ours are built on."""
    made = lab.start("hub1", docker_installed=True)
    made.start_docker()
    made.load(dockerd.BASE)
    return made


def test_a_healthy_machine_has_no_problem_and_is_not_changed(machine: Machine, tmp_path: Path) -> None:
    write_files(tmp_path, machine)
    before = machine.run("find /etc /usr /var/lib /root -newer /proc/1 -type f | sort; docker ps --all; docker images")
    found = findings(tmp_path)
    assert found["problem"] == []
    assert f"image {dockerd.BASE} is there" in found["ok"]
    assert "its kernel has what containers and the firewall need" in found["ok"]
    after = machine.run("find /etc /usr /var/lib /root -newer /proc/1 -type f | sort; docker ps --all; docker images")
    assert after == before


def test_who_could_listen_on_the_way_is_told_by_check_and_before_anything_is_done(
    machine: Machine, tmp_path: Path
) -> None:
    without: dict[str, Any] = {"https": "off", "listen": {"address": "0.0.0.0", "port": 8000}}
    for settings, words in (({}, "browsers warn of the hub"), (without, "travel unencrypted to 0.0.0.0:8000")):
        write_files(tmp_path, machine, **settings)
        assert [text for text in findings(tmp_path)["note"] if words in text]
        assert words in " ".join(command.run(tmp_path, "plan").out.split())
    write_files(tmp_path, machine, https="off")
    assert not [text for text in findings(tmp_path)["note"] if "encrypted" in text]


def test_who_holds_a_port_is_named(machine: Machine, tmp_path: Path) -> None:
    write_files(tmp_path, machine)
    serve(machine, 443, "theirs")
    try:
        (problem,) = soon(lambda: findings(tmp_path)["problem"])
        pid = machine.run("pidof theirs")
        assert problem == f"theirs (pid {pid}) holds port 443. Try: end it, or choose another port"
        done = command.run(tmp_path, "up", "--yes")
        assert (done.code, f"theirs (pid {pid}) holds port 443" in done.err) == (3, True)
        assert machine.run("ls /var/lib/hubfleet 2>/dev/null", check=False) == "", "something was changed"
        write_files(tmp_path, machine, https="off", listen={"address": "0.0.0.0", "port": 8000})
        assert findings(tmp_path)["problem"] == []
        write_files(tmp_path, machine, https="off", listen={"address": "0.0.0.0", "port": 443})
        assert findings(tmp_path)["problem"] == [problem]
    finally:
        machine.run("systemctl stop theirs")


def test_an_address_that_the_machine_does_not_have(machine: Machine, tmp_path: Path) -> None:
    write_files(tmp_path, machine, https="off", listen={"address": "192.0.2.1", "port": 8000})
    (problem,) = findings(tmp_path)["problem"]
    assert "the machine has no address 192.0.2.1" in problem
    assert machine.address in problem
    write_files(tmp_path, machine, https="off", listen={"address": machine.address, "port": 8000})
    assert findings(tmp_path)["problem"] == []


@pytest.fixture
def late(machine: Machine) -> Iterator[None]:
    """Its Python tells a time an hour ago: the clock of a container is this machine's, and stays."""
    place, behind = "/usr/local/bin/python3", "import time; true = time.time; time.time = lambda: true() - 3600"
    script = f"""#!/bin/sh
[ "$3" = -c ] || exec /usr/bin/python3 "$@"
exec /usr/bin/python3 "$1" "$2" -c "{behind}
$4"
"""
    machine.run(f"cat > {place} && chmod +x {place}", text=script)
    yield
    machine.run("rm", place)


def test_a_clock_that_is_far_behind(machine: Machine, late: None, tmp_path: Path) -> None:
    write_files(tmp_path, machine)
    (problem,) = findings(tmp_path)["problem"]
    seconds = int(problem.removeprefix("its clock is ").partition(" ")[0])
    assert 3590 <= seconds <= 3610
    assert "s behind the one here" in problem
    assert "Try: timedatectl set-ntp true" in problem


def test_docker_in_swarm_mode(machine: Machine, tmp_path: Path) -> None:
    write_files(tmp_path, machine)
    machine.docker("swarm", "init", "--advertise-addr", machine.address)
    try:
        (problem,) = findings(tmp_path)["problem"]
        assert "Swarm mode" in problem
        assert "Try: docker swarm leave" in problem
    finally:
        machine.docker("swarm", "leave", "--force")
    assert findings(tmp_path)["problem"] == []


def test_an_image_that_is_nowhere(machine: Machine, tmp_path: Path) -> None:
    write_files(tmp_path, machine, servers={"image": "127.0.0.1:9/nobody/has:1"})
    (problem,) = findings(tmp_path)["problem"]
    assert problem.startswith("the registry of 127.0.0.1:9/nobody/has:1: 127.0.0.1:9 cannot be reached from there (")
    assert "Try: bring it there: docker save 127.0.0.1:9/nobody/has:1 | ssh ... docker load" in problem


def test_a_name_that_leads_nowhere_or_to_the_machine(machine: Machine, tmp_path: Path) -> None:
    write_files(tmp_path, machine, domain="hub.nowhere.invalid.example", https=None)
    (problem,) = findings(tmp_path)["problem"]
    assert problem.startswith("DNS does not know hub.nowhere.invalid.example (")
    assert problem.endswith(f"Try: an entry for it at your DNS, to {machine.address}")
    write_files(tmp_path, machine, domain=machine.address)
    found = findings(tmp_path)
    assert f"{machine.address} leads to {machine.address}, which is hub1" in found["ok"]
    write_files(tmp_path, machine, domain="192.0.2.7")
    found = findings(tmp_path)
    assert found["problem"] == []
    assert [text for text in found["note"] if text.startswith("192.0.2.7 leads to 192.0.2.7, and hub1 has ")]


def test_a_machine_that_reaches_nothing_outside(machine: Machine, tmp_path: Path) -> None:
    """What images are built on is there, but not what goes into them."""
    write_files(tmp_path, machine)
    names = ("the source of Debian packages (apt)", "the index of Python packages")

    def said(level: str) -> list[str]:
        texts = findings(tmp_path)[level]
        return [name for name in names if any(text.startswith(name) for text in texts)]

    assert said("note") == []
    network = machine.address.rpartition(".")[0]
    kept = ["ct state established accept", "oif lo accept", f"ip daddr {network}.0/24 accept"]
    chain = "\n".join(["type filter hook output priority 0; policy drop;", *kept])
    machine.run("nft -f -", text=f"table inet lab {{\nchain out {{\n{chain}\n}}\n}}\n")  # at once, or we are cut off
    try:
        found = findings(tmp_path)
        assert found["problem"] == []
        assert said("note") == [*names]
        assert all("cannot be reached from there (" in text for text in found["note"] if text.startswith(names))
        assert all("network.proxy" in text for text in found["note"] if text.startswith(names))
    finally:
        machine.run("nft delete table inet lab")


def test_it_connects_once(machine: Machine, tmp_path: Path) -> None:
    write_files(tmp_path, machine, domain=machine.address)
    count = "journalctl --unit ssh --grep 'Accepted publickey' --output cat | wc -l"
    before = int(machine.run(count))  # with its own
    findings(tmp_path)
    assert int(machine.run(count)) == before + 2


# -- no way there ------------------------------------------------------------------------------------------------------


def _nothing_listens(folder: Path, machine: Machine) -> str:
    told = json.loads((folder / "hubfleet.yaml").read_text())
    told["machines"][machine.name]["ssh"] = f"root@{machine.address}:2222"
    (folder / "hubfleet.yaml").write_text(json.dumps(told))
    return "hub1: nothing answers at its SSH port. Nothing was changed there. Try: start sshd there"


def _host_key_not_known(folder: Path, machine: Machine) -> str:
    config = (folder / "ssh_config").read_text()
    lines = [line for line in config.splitlines() if not line.startswith("UserKnownHostsFile")]
    (folder / "known").touch()
    (folder / "ssh_config").write_text("\n".join([*lines, f"UserKnownHostsFile {folder}/known"]) + "\n")
    return "hub1: its host key is not known here. Nothing was changed there. Try: ssh to it once by hand"


@pytest.mark.parametrize("broken", [_nothing_listens, _host_key_not_known])
def test_no_way_to_the_machine(machine: Machine, tmp_path: Path, broken: Callable[[Path, Machine], str]) -> None:
    write_files(tmp_path, machine)
    words = broken(tmp_path, machine)
    done = command.run(tmp_path, "check")
    assert (done.code, done.out) == (8, "")
    assert words in done.err
