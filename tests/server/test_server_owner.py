"""Who owns files on a server: a site's own program asks its accounting service, from the launcher's container."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import pytest
from deployed import Server
from harness import expect_failure

import needs
from services import Tas, running

pytestmark = needs.machines(1500)

PROGRAM = """#!/usr/bin/env python3
import base64, json, sys, urllib.request
right = base64.b64encode(f"hub-role:{sys.stdin.readline().strip()}".encode()).decode()
asked = urllib.request.Request("URL/users/username/" + sys.argv[1], headers={"Authorization": f"Basic {right}"})
told = json.load(urllib.request.urlopen(asked, timeout=5))
if told["status"] != "success":
    sys.exit(1)
print(told["result"]["uid"], told["result"]["gid"], told["result"]["homeDirectory"])
"""
SETTINGS = """
storage:
  owner: {command: owner-of.py}
  must_be_mounted: [/work]
  mounts: ["/work/{tas_homeDirectory}:/home/jupyter/tacc-work:rw"]
"""


@pytest.fixture
def tas(server: Server) -> Iterator[Tas]:
    """An accounting service beside the server."""
    service = Tas(password=f"canary-{secrets.token_hex(8)}")
    service.host = server.beside
    with running(service):
        yield service


@pytest.fixture
def asking(server: Server, tas: Tas) -> Iterator[Server]:
    """The hub, whose launcher asks it; afterwards as it was."""
    file = server.folder / "hubfleet.secrets.yaml"
    before = file.read_text()
    file.write_text(f"{before}owner_password: {tas.password}\n")
    (server.folder / "owner-of.py").write_text(PROGRAM.replace("URL", tas.url))
    server.write(SETTINGS)
    yield server
    file.write_text(before)
    server.write("")
    server.up()
    server.machine.run("umount /work; rmdir /work", check=False)


def test_from_up_to_a_file(asking: Server, tas: Tas) -> None:
    ada, eve = asking.new_name("ada"), asking.new_name("eve")
    tas.add(ada, 810_001, 810_500, "01234/ada")
    done = asking.run("check", check=False)
    assert done.returncode == 3
    assert "hubfleet.yaml:11: /work is not mounted on hub1. Try: mount it, there" in done.stdout + done.stderr
    assert "hubfleet.yaml:12: /work is missing on hub1. Try: create it" in done.stdout + done.stderr
    asking.machine.run("mkdir -p /work && mount -t tmpfs none /work && install -d -o 810001 -g 810500 /work/01234/ada")
    told = asking.up()
    assert tas.password not in told

    person = asking.person(ada)
    assert person.start()[-1]["ready"]
    code = "import os; open('/home/jupyter/tacc-work/new', 'w'); open('own', 'w'); print(os.getuid(), os.getgid())"
    kernel = person.kernel()
    assert kernel.run(code) == "810001 810500\n"
    kernel.close()
    owners = asking.machine.run(f"stat -c '%u %g' /work/01234/ada/new {asking.homes}/{ada}/own {asking.homes}/{ada}")
    assert owners.split("\n") == ["810001 810500"] * 3
    assert "has no account" in expect_failure(asking.person(eve))
    person.stop()

    asking.machine.run("umount /work")
    assert "/work is not mounted on this machine" in expect_failure(person)

    # What it asks with is in one file of root's, and nowhere else that anybody could look.
    kept = f"{asking.state}/launcher/launcher-secrets.json"
    assert asking.machine.run("stat", "-c", "%a %u", kept) == "600 0"
    assert asking.machine.run(f"grep -rl {tas.password} {asking.state} /etc /var/log", check=False) == kept
    launcher = asking.inspect(asking.container("launcher"))[0]
    assert tas.password not in str(launcher)
    assert tas.password not in asking.machine.run("ps axeww")
    assert json.loads(asking.run("plan", "--json").stdout)["changes"] == []
