"""The machines that other tests stand on: do they behave like servers?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dockerd
import pytest
from machines import Lab, Machine, sweep

import needs
from hubfleet.machines import SSHMachine
from hubfleet.resources import File
from waiting import soon

pytestmark = needs.machines(900)


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Machine:
    return lab.start("hub1")


@pytest.fixture(scope="module")
def other(lab: Lab) -> Machine:
    """With Docker installed."""
    return lab.start("worker1", docker_installed=True)


def test_a_machine_boots_and_has_what_a_bare_server_has(bare: Machine) -> None:
    assert bare.run("systemctl is-system-running") == "running"
    assert bare.run("hostname") == "hub1"
    assert bare.run("cat /proc/1/comm") == "systemd"
    assert bare.run("python3 -c 'import sys; print(sys.version_info >= (3, 9))'") == "True"
    assert bare.run("command -v docker || echo none") == "none"
    assert bare.run("nft list ruleset") == ""


def test_only_the_key_of_the_lab_opens_it(bare: Machine) -> None:
    assert bare.run("id -un") == "root"
    assert bare.run("sudo -n id -un", user="admin") == "root"
    for user in ("root", "admin"):
        command = ["ssh", *bare.options("stranger"), f"{user}@{bare.address}", "true"]
        refused = subprocess.run(command, capture_output=True, text=True)
        assert (refused.returncode, "Permission denied" in refused.stderr) == (255, True), refused.stderr


def test_another_machine_in_its_place_is_not_talked_to(lab: Lab, bare: Machine) -> None:
    known = lab.place / "known_hosts"
    kept = known.read_text()
    stranger = " ".join((lab.place / "stranger.pub").read_text().split()[:2])
    known.write_text(f"{bare.address} {stranger}\n")
    try:
        assert "Host key verification failed" in bare.run("true", check=False)
    finally:
        known.write_text(kept)


def test_it_reaches_the_package_registries(bare: Machine) -> None:
    bare.run("apt-get update -q && cd /tmp && apt-get download -q hello && ls hello*.deb")
    # a pip that brings its own certificates, without the environment that SSH gives, as in a service
    bare.run("cd /tmp && python3 -m venv env && env/bin/pip install -q pip==23.3")
    bare.run("cd /tmp && env -i env/bin/pip download --no-deps --no-cache-dir six")


def test_two_machines_reach_each_other(bare: Machine, other: Machine) -> None:
    assert bare.address.rpartition(".")[0] == other.address.rpartition(".")[0]
    bare.run("ping", "-c", "1", "-W", "5", other.address)
    assert "SSH" in other.run(f"bash -c 'exec 3<>/dev/tcp/{bare.address}/22; head -n 1 <&3'")


def test_its_control_groups_are_its_own(bare: Machine, other: Machine) -> None:
    name = f"probe-{os.getpid()}"
    bare.run(f"mkdir /sys/fs/cgroup/memory/{name}")
    try:
        assert name not in other.run("ls /sys/fs/cgroup/memory")
        assert not (Path("/sys/fs/cgroup/memory") / name).exists()
        assert bare.run("systemd-run --quiet --wait --pipe -p MemoryMax=64M cat /proc/self/cgroup").count(".service")
    finally:
        bare.run(f"rmdir /sys/fs/cgroup/memory/{name}")


@pytest.mark.parametrize("user", ["root", "admin"])
def test_hubfleet_looks_and_works_there(bare: Machine, reach: Callable[..., SSHMachine], user: str) -> None:
    machine = reach(bare, user)
    file = File(f"/etc/hubfleet-{user}", content="42\n", owner="root", group="root", mode=0o600)
    change = file.diff(machine.observe([file])[file.id])
    assert change is not None
    assert machine.apply(change, print)
    assert bare.run("stat", "-c", "%U %a %s", file.path) == "root 600 3"
    assert file.diff(machine.observe([file])[file.id]) is None


def test_what_is_put_there_and_what_is_killed_there(bare: Machine, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("42")
    bare.put(tmp_path / "folder", "/root/folder")
    assert bare.run("cat", text="42") == bare.run("cat /root/folder/file") == "42"
    bare.run("systemd-run --quiet --unit sleeper sleep infinity")
    assert bare.kill("sleep")
    soon(lambda: bare.run("systemctl is-failed sleeper", check=False) == "failed")
    bare.run("systemctl reset-failed sleeper")


# -- on and off -------------------------------------------------------------------------------------------------------


def test_it_comes_back_as_it_was(bare: Machine) -> None:
    bare.run("echo 42 > /root/kept; echo 42 > /run/not-kept; nft add table inet not-kept")
    host = bare.run("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub 2>/dev/null", check=False)

    def boot() -> str:
        return bare.run("stat -c %Z /proc/1")

    for off_and_on in (bare.reboot, lambda: (bare.cut_power(), bare.start())):
        before = boot()
        off_and_on()
        assert boot() != before
    before = boot()
    bare.run("systemctl reboot", check=False)
    soon(lambda: bare.run("stat -c %Z /proc/1", check=False) not in (before, ""), 60)
    bare.wait()
    assert bare.run("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub 2>/dev/null", check=False) == host
    assert bare.run("hostname -I") == bare.address
    assert bare.run("cat /root/kept; ls /run/not-kept 2>/dev/null; nft list ruleset", check=False) == "42"


def test_what_a_killed_test_has_left_goes_when_the_next_begins(lab: Lab, bare: Machine, tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = Lab(lab.engine, tmp_path, owner=ended.stdout.strip())
    left.start("left")
    sweep(lab.engine)
    everything = lab.engine.docker("ps", "--all", "--format", "{{.Names}}") + lab.engine.docker("network", "ls")
    assert left.network not in everything
    assert bare.run("echo still here") == "still here"


# -- its Docker engine ------------------------------------------------------------------------------------------------


def running(machine: Machine, name: str) -> dict[str, object]:
    state = json.loads(machine.docker("inspect", "--format", "{{json .State}}", name))
    return dict(state) if state["Running"] else {}


def keeps_running(machine: Machine) -> None:
    """With live-restore a container survives the engine, and with a restart policy it comes back after a boot."""
    machine.load(dockerd.BASE)
    machine.docker(
        "run", "--detach", "--init", "--restart", "always", "--name", "kept", dockerd.BASE, "sleep", "infinity"
    )
    assert machine.docker("info", "--format", "{{.Driver}} {{.LiveRestoreEnabled}}") == "overlay2 true"
    before = running(machine, "kept")
    machine.kill("dockerd")
    soon(lambda: machine.docker("version", check=False).count("Server:"), 60)
    assert running(machine, "kept") == before
    machine.reboot()
    soon(lambda: "kept" in machine.docker("ps", check=False), 60)
    assert running(machine, "kept")["StartedAt"] != before["StartedAt"]


LIVE_RESTORE = "mkdir -p /etc/docker && echo '{\"live-restore\": true}' > /etc/docker/daemon.json"


def test_docker_can_be_installed_there(lab: Lab) -> None:
    fresh = lab.start("fresh")
    fresh.run(LIVE_RESTORE)
    fresh.run("apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y docker.io")
    keeps_running(fresh)
    assert fresh.run("systemctl is-system-running") == "running"


def test_where_docker_is_installed_it_is_off_until_asked(other: Machine) -> None:
    assert "Cannot connect" in other.docker("ps", check=False)
    other.run(LIVE_RESTORE)
    other.start_docker()
    keeps_running(other)


def test_containers_inside_have_limits_and_a_way_out(other: Machine) -> None:
    limit = "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    command = f"pip download --quiet --no-deps --no-cache-dir --dest /tmp six && cat {limit}"
    run = ["run", "--rm", "--memory", "256m", "--cpus", "0.5", dockerd.BASE]
    assert other.docker(*run, "sh", "-c", command) == str(256 << 20)
    build = f"FROM {dockerd.BASE}\nRUN pip install --break-system-packages six\n"
    other.docker("build", "--quiet", "--network", "host", "-", text=build)
