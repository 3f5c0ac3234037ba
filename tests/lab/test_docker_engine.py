"""hubfleet makes a Docker host of a server, and keeps what is there already."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import dockerd
import pytest
from machines import Lab, Machine

import needs
from hubfleet.errors import UnreachableError
from hubfleet.machines import SSHMachine
from hubfleet.resources import Resource
from hubfleet.resources.dockerengine import DockerEngine
from hubfleet.resources.firewall import Firewall
from hubfleet.resources.network import Network
from waiting import soon

pytestmark = needs.machines(900)

Reach = Callable[..., SSHMachine]
ENGINE = DockerEngine()
BRIDGE = "hubfleet0"
USERS = Network("users", bridge=BRIDGE, isolated=True)
FIREWALL = Firewall("users", interface=BRIDGE)


def converge(machine: SSHMachine, resource: Resource = ENGINE, hear: Callable[[str], None] = lambda text: None) -> str:
    """Have a machine become as wanted; returns what was to be done, empty if nothing."""
    change = resource.diff(machine.observe([resource])[resource.id])
    if change is None:
        return ""
    machine.apply(change, hear)
    return change.action


def info(machine: Machine) -> str:
    return machine.docker("info", "--format", "{{.LiveRestoreEnabled}} {{.LoggingDriver}} {{.Containers}}")


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Machine:
    return lab.start("hub1")


@pytest.fixture(scope="module")
def used(lab: Lab) -> Machine:
    """With Docker installed, and settings of its own."""
    machine = lab.start("hub2", docker_installed=True)
    machine.run("mkdir -p /etc/docker")
    machine.run("cat > /etc/docker/daemon.json", text=json.dumps({"log-driver": "local", "labels": ["rack=4"]}))
    return machine


# -- a server without Docker -------------------------------------------------------------------------------------------


def test_a_power_cut_while_docker_is_installed_is_made_good(bare: Machine, reach: Reach) -> None:
    ended: list[BaseException] = []

    def install() -> None:
        try:
            converge(reach(bare))
        except UnreachableError as error:
            ended.append(error)

    installing = threading.Thread(target=install)
    installing.start()
    soon(lambda: bare.run("test -e /usr/bin/containerd && echo there", check=False), 300)
    bare.cut_power()
    installing.join()
    assert "the connection was lost" in str(ended)
    bare.start()
    half = bare.run("dpkg-query --show --showformat '${db:Status-Status}' docker.io", check=False)
    assert half != "installed", "it was too late to cut the power"
    converge(reach(bare))
    assert converge(reach(bare)) == ""
    assert bare.run("dpkg --audit") == ""
    assert info(bare) == "true json-file 0"


def test_what_is_needed_beside_it_is_installed(bare: Machine, reach: Reach) -> None:
    bare.run("apt-get purge -q -y nftables")
    assert converge(reach(bare)) == "update"
    assert converge(reach(bare)) == ""
    assert bare.run("nft --version").startswith("nftables")


def test_it_runs_after_a_reboot(bare: Machine, reach: Reach) -> None:
    bare.reboot()
    assert info(bare) == "true json-file 0"
    assert converge(reach(bare)) == ""


def test_another_apt_get_is_waited_for(lab: Lab, reach: Reach) -> None:
    """A server reads the list of packages by itself soon after it has booted."""
    machine = lab.start("hub3")
    program = """
import fcntl, sys
lock = open("/var/lib/apt/lists/lock", "w")  # freed when it is closed
fcntl.lockf(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
    holding = ["ssh", *machine.options(), f"root@{machine.address}", f"python3 -c {shlex.quote(program)}"]
    said: list[str] = []

    def hear(text: str) -> None:
        said.append(text)
        if "another apt is at work" in text:
            other.terminate()

    with subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert converge(reach(machine), hear=hear) == "create"
    assert any("another apt is at work" in text for text in said)


# -- a server with Docker ----------------------------------------------------------------------------------------------


def test_one_that_is_installed_but_off_is_started(used: Machine, reach: Reach) -> None:
    used.run("rm -f /etc/docker/daemon.json.kept; cp /etc/docker/daemon.json /etc/docker/daemon.json.kept")
    assert converge(reach(used), DockerEngine(live_restore=False)) == "start"
    assert info(used) == "false local 0"
    used.run("cmp /etc/docker/daemon.json /etc/docker/daemon.json.kept")


def test_settings_and_containers_of_an_engine_that_is_there_are_kept(used: Machine, reach: Reach) -> None:
    used.load(dockerd.BASE)
    used.docker(
        "run", "--detach", "--init", "--restart", "always", "--name", "theirs", dockerd.BASE, "sleep", "infinity"
    )
    before = used.docker("inspect", "theirs"), used.run("pidof dockerd")
    assert converge(reach(used)) == "update"
    assert converge(reach(used)) == ""
    assert (used.docker("inspect", "theirs"), used.run("pidof dockerd")) == before, "nothing was restarted"
    assert info(used) == "true local 1"
    wanted = {"log-driver": "local", "labels": ["rack=4"], "live-restore": True}
    assert json.loads(used.run("cat /etc/docker/daemon.json")) == wanted
    used.kill("dockerd")
    soon(lambda: used.docker("version", check=False).count("Server:"), 60)
    assert used.docker("inspect", "--format", "{{.State.Pid}}", "theirs") in before[0]


# -- the firewall ------------------------------------------------------------------------------------------------------


def package_archive() -> str:
    """A host outside, which CI's machine reaches in any case: it installs its packages from there."""
    files = [*Path("/etc/apt").glob("sources.list.d/*"), Path("/etc/apt/sources.list")]
    sources = "".join(file.read_text() for file in files if file.is_file())
    uncommented = re.sub("^#.*$", "", sources, flags=re.MULTILINE)
    return re.findall(r"http://([^/\s]+)/debian\b", uncommented)[0]


def reached(machine: Machine, *targets: tuple[str, int]) -> list[tuple[str, int]]:
    """Which of these a container on the users' network can connect to."""
    program = f"""
import socket
for target in {targets}:
    try:
        socket.create_connection(target, 5).close()
        print(target)
    except OSError:
        pass
"""
    said = machine.docker("run", "--rm", "--network", USERS.name, dockerd.BASE, "python3", "-c", program)
    return [target for target in targets if str(target) in said]


def test_the_firewall_is_there_after_a_reboot_and_a_power_cut(used: Machine, bare: Machine, reach: Reach) -> None:
    for resource in (ENGINE, USERS):
        converge(reach(used), resource)
    used.load(dockerd.BASE)
    outside = package_archive(), 80
    targets = (bare.address, 22), (used.address, 22), outside
    assert reached(used, *targets) == list(targets)
    assert converge(reach(used), FIREWALL) == "create"
    for off_and_on in (lambda: None, used.reboot, lambda: (used.cut_power(), used.start())):
        off_and_on()
        soon(lambda: used.docker("version", check=False).count("Server:"), 60)
        assert reached(used, *targets) == [outside]
        assert converge(reach(used), FIREWALL) == ""
    used.run(f"nft delete table inet {FIREWALL.table}")
    assert reached(used, *targets) == list(targets)
