"""The commands for Deployer's files, with a machine that they reach over SSH by the key that the files name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sshd import Server

import needs
from command import Done, run
from trios import CANARY, SMALL_CONFIGS, SMALL_PASSWORDS, trio

pytestmark = [needs.root(), needs.command("/usr/sbin/sshd", package="openssh-server")]
NAME = ("-p", "jupyterhub", "-i", "prod", "-t", "designsafe")
HUB = "jupyterhub.prod.designsafe"


@pytest.fixture
def folder(tmp_path: Path, server: Server) -> Path:
    hosts = (
        "ssh_key: keys/hub.key\n"
        f"{HUB}:\n    ssh_config: keys/ssh_config\n    hosts:\n"
        "        - {host_id: hub1, ssh_host: 127.0.0.1, ssh_user: root, roles: [hub, worker]}\n"
    )
    configs = (
        f"{SMALL_CONFIGS}    use_tas_uid: true\n    tas_role_account: hub-role\n"
        "    volume_mounts: ['/work/{tas_homeDirectory}:/home/jupyter/work:rw']\n"
        "    jupyterhub_image: taccsciapps/jupyterhub:0.8.0\n"
    )
    made = trio(tmp_path / "ops", configs, hosts, f"{SMALL_PASSWORDS}    tas_role_pass: {CANARY}-tas\n")
    (made / "keys").mkdir()
    shutil.copy(server.base / "user", made / "keys/hub.key")
    (made / "keys/ssh_config").write_text(
        f"Port {server.port}\nHostKeyAlias [127.0.0.1]:{server.port}\n"
        f"UserKnownHostsFile {server.base}/known_hosts\nGlobalKnownHostsFile /dev/null\n"
    )
    return made


def assert_quiet(done: Done) -> None:
    assert CANARY not in done.out + done.err
    assert "Traceback" not in done.err


def test_plan_shows_what_deploy_would_do_and_no_secret(folder: Path) -> None:
    done = run(folder, "deployer", *NAME, "-a", "plan", "-vv")
    assert_quiet(done)
    assert done.code == 0, done.err
    assert "tas_role_pass" in done.out
    assert "hubfleet-jupyterhub.prod.designsafe-launcher" in done.out
    assert f"hub: {HUB}\nengine: docker\n" in done.out, "what its hubfleet.yaml would be"
    check = run(folder, "deployer", *NAME, "-a", "check")
    assert_quiet(check)
    assert "note     ops.configs:7: jupyterhub_image: " in check.out
    again = run(folder, "-c", "ops.configs", "-H", HUB, "plan", "--full")
    assert_quiet(again)
    assert again.code == 0, again.err
    assert "launcher.json" in again.out


def test_what_import_writes_has_the_same_plan(folder: Path) -> None:
    before = run(folder, "-c", "ops.configs", "plan", "--json")
    assert run(folder, "import", ".").code == 0
    after = run(folder, "plan", "--json")
    assert (before.code, after.code) == (0, 0), before.err + after.err
    # Notes name the file.
    assert {**json.loads(after.out), "notes": []} == {**json.loads(before.out), "notes": []}
    assert_quiet(after)


def test_machines_are_not_written_into_files_of_deployer(folder: Path) -> None:
    hosts = folder / "ops.hosts"
    worker = "        - {host_id: w, ssh_host: localhost, ssh_user: root, roles: [worker]}\n"
    hosts.write_text(hosts.read_text().replace("[hub, worker]", "[hub]") + worker)
    before = hosts.read_text()
    done = run(folder, "-c", ".", "machine", "add", "w2", "--ssh", "root@192.0.2.1")
    assert done.code == 2, done.err
    assert done.err.startswith("ops.hosts:1: a file of Deployer is not changed by hubfleet. Try: {host_id: w2, ")
    assert hosts.read_text() == before


def test_a_key_that_the_machine_does_not_know(folder: Path, server: Server) -> None:
    shutil.copy(server.base / "stranger", folder / "keys/hub.key")
    done = run(folder, "deployer", *NAME, "-a", "plan")
    assert_quiet(done)
    assert done.code == 8, done.err
    assert "hub1" in done.err
