"""The disk that images and containers are on is small, and then full: it is said, and nothing that serves is hurt."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hubs_there import HubThere, findings
from machines import Lab, Machine
from stock import stocked

import needs
from hubfleet.errors import ApplyError, CheckError
from waiting import soon

pytestmark = needs.machines()

PLACE = "/srv/images"
SERVICES = "docker.socket docker.service containerd.service"
LEFT_MB = 300
FILL = f"for size in 1M 64k 1; do dd if=/dev/zero of={PLACE}/filler.$size bs=$size 2>/dev/null; done; true"


@pytest.fixture(scope="module")
def small(lab: Lab) -> Machine:
    """What its engine has is on a disk of its own with little room left, as its settings say."""
    machine = stocked(lab)
    machine.run(f"systemctl stop {SERVICES}")
    used = int(machine.run("du -sm /var/lib/docker").split()[0])
    machine.run(f"mkdir {PLACE} && mount -t tmpfs -o size={used + LEFT_MB}m,mode=711 tmpfs {PLACE}")
    machine.run(f"cp --archive /var/lib/docker {PLACE}/docker && mkdir -p /etc/docker")
    machine.run("cat > /etc/docker/daemon.json", text=json.dumps({"data-root": f"{PLACE}/docker"}))
    machine.run(f"systemctl start {SERVICES}")
    return machine


def test_little_room_is_no_matter_until_an_image_is_to_be_made(small: Machine, tmp_path: Path) -> None:
    hub = HubThere(small, tmp_path)
    hub.write()
    (text,) = [text for text in findings(tmp_path)["note"] if "free for images" in text]
    assert text.endswith(f"GB free for images ({PLACE}/docker)")
    hub.up()
    before = small.run("docker ps --quiet; find /etc /var/lib/hubfleet -newer /etc/docker/daemon.json -type f | sort")

    hub.write(servers={"packages": ["six"]})
    done = hub.run("up", "--yes", check=False)
    assert done.returncode == CheckError.exit_code
    words = f"GB free for images ({PLACE}/docker); about 1 GB are needed for the 1 that are to be made"
    assert words in " ".join(done.stderr.split())
    assert "Nothing was changed" in " ".join(done.stderr.split())
    assert [text for text in findings(tmp_path)["problem"] if words in text]
    after = small.run("docker ps --quiet; find /etc /var/lib/hubfleet -newer /etc/docker/daemon.json -type f | sort")
    assert after == before


def test_it_fills_up_while_people_work(small: Machine, tmp_path: Path) -> None:
    hub = HubThere(small, tmp_path)
    hub.write()
    hub.up()
    ada, bob = hub.person("ada"), hub.person("bob")
    assert ada.start()[-1].get("ready")
    kernel = ada.kernel()
    kernel.run("kept = 6 * 7")
    before = small.docker("ps", "--quiet")

    # While an image is built, after there was room for it.
    small.run(f"mount -o remount,size=$(($(df --output=size -m {PLACE} | tail -1) + 2048))m {PLACE}")
    hub.write(servers={"packages": ["six"]})
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    operator = subprocess.Popen(hub.command("up", "--yes"), cwd=hub.folder, env=hub.environment, text=True, **given)
    soon(lambda: small.run("docker ps --quiet | wc -l") == str(len(before.split()) + 1), 120)
    small.run(FILL)
    said, _ = operator.communicate(timeout=600)
    assert operator.returncode == ApplyError.exit_code, said
    assert f"failed, and there was no room left in {PLACE}/docker:" in " ".join(said.split()), said
    assert "Try: free some space there" in " ".join(said.split())
    assert "No image was made, and earlier ones stay" in " ".join(said.split())
    small.run(FILL)
    assert kernel.run("print(kept)").startswith("42")
    body = {"type": "file", "format": "text", "content": "saved"}
    assert ada.jupyter("PUT", "/api/contents/a.txt", json=body).status_code == 201, "homes are elsewhere"

    # While a server starts.
    answer = bob.api("POST", "/users/bob/server", json={})
    assert answer.status_code == 500, "it is told at once"
    assert "Your server could not be started: the Docker engine refuses it: " in answer.json()["message"]
    assert "no space left on device" in answer.json()["message"]
    status = hub.status()
    assert [words.partition(":")[0] for words in status["problems"] if "the disk is full" in words] == [
        f"{PLACE}/docker"
    ]
    assert small.docker("ps", "--quiet") == before, "no other has taken the place of one"
    assert kernel.run("print(kept)").startswith("42")

    small.run(f"rm {PLACE}/filler.*")
    assert bob.start()[-1].get("ready")
    hub.up()
    assert hub.changes() == []
    assert kernel.run("print(kept)").startswith("42")
    dangling = small.docker("images", "--quiet", "--filter", "dangling=true").split()
    assert [one for one in dangling if "/opt/hubfleet/" in small.docker("history", "--no-trunc", one)] == []
