"""The disk that holds a hub's state and homes is full: nothing is lost, all goes on that can, and it is said."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import requests
from harness import Person
from hubs_there import HubThere, findings
from machines import Lab
from stock import stocked

import needs
from hubfleet.errors import ApplyError, CheckError
from hubfleet.layout import ROOT_BASE
from waiting import soon

pytestmark = needs.machines()

FILL = f"for size in 64k 1; do dd if=/dev/zero of={ROOT_BASE}/filler.$size bs=$size 2>/dev/null; done; true"
LONG = "long" * 10000


def save(person: Person, content: str) -> int:
    """As a page does; the status."""
    body = {"type": "file", "format": "text", "content": content}
    status: int = person.jupyter("PUT", "/api/contents/kept.txt", json=body).status_code
    return status


def test_nothing_is_lost_and_all_is_well_when_there_is_room_again(lab: Lab, tmp_path: Path) -> None:
    machine = stocked(lab)
    machine.run(f"mkdir -p {ROOT_BASE} && mount -t tmpfs -o size=64m,mode=755 tmpfs {ROOT_BASE}")
    hub = HubThere(machine, tmp_path)
    hub.write()
    hub.up()
    ada, bob = hub.person("ada"), hub.person("bob")
    assert ada.start()[-1].get("ready")
    kernel = ada.kernel()
    kernel.run("kept = 6 * 7")
    assert save(ada, "short") == 201
    unused = ada.api("POST", "/users/ada/tokens", json={}).json()["token"]
    before = machine.run("docker", "ps", "--quiet")

    machine.run(FILL)
    assert kernel.run("print(kept)").startswith("42")
    assert save(ada, LONG) == 507
    assert machine.run("cat", hub.homes / "ada" / "kept.txt") == "short", "what was there is whole"
    told = requests.get(f"{hub.url}/hub/api/user", headers={"Authorization": f"token {unused}"}, timeout=30)
    assert (told.status_code, "The hub's disk is full" in told.text) == (503, True), "its first use cannot be noted"
    status = hub.status()
    assert status["state"] == "degraded"
    full = [words.partition(":")[0] for words in status["problems"] if "the disk is full" in words]
    assert full == [f"{hub.state}/hub", str(hub.homes)]
    hub.write(servers={"memory": {"limit": "1G"}})
    failed = hub.run("up", "--yes", check=False)
    assert failed.returncode == CheckError.exit_code
    words = "0 MB are free for homes and the hub's own files: its disk is full. Try: free some space"
    assert words in " ".join(failed.stderr.split())
    assert [text for text in findings(tmp_path)["problem"] if words in text]
    assert machine.run("docker", "ps", "--quiet") == before

    machine.run(f"rm {ROOT_BASE}/filler.*")
    hub.up()
    assert hub.changes() == []
    assert kernel.run("print(kept)").startswith("42")
    assert save(ada, LONG) == 200
    assert bob.start()[-1].get("ready")


def test_a_disk_that_fills_up_meanwhile_leaves_what_serves(lab: Lab, tmp_path: Path) -> None:
    """`check` had nothing to say: there was room then."""
    machine = stocked(lab, "hub2")
    machine.run(f"mkdir -p {ROOT_BASE} && mount -t tmpfs -o size=64m,mode=755 tmpfs {ROOT_BASE}")
    hub = HubThere(machine, tmp_path)
    hub.write()
    hub.up()
    before = machine.run("docker", "ps", "--quiet")
    hub.write(servers={"memory": {"limit": "1G"}})
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    operator = subprocess.Popen(hub.command("up", "--yes"), cwd=hub.folder, env=hub.environment, text=True, **given)
    soon(lambda: "_try-hub" in machine.docker("ps", "--format", "{{.Names}}"), 120)
    machine.run(FILL)
    said, _ = operator.communicate(timeout=240)
    assert operator.returncode == ApplyError.exit_code, said
    assert "Traceback" not in said
    assert "steps are done and stay" in said
    assert set(before.split()) <= set(machine.run("docker", "ps", "--quiet").split())
    machine.run(f"rm {ROOT_BASE}/filler.*")
    hub.up()
    assert hub.changes() == []
    assert hub.person("ada").start()[-1].get("ready")
