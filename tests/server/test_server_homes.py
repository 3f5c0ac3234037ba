"""Who keeps homes on a server: what the launcher has lost, what the hub cannot ask for, and what the operator can."""

from __future__ import annotations

import json
from typing import Any

import pytest
from deployed import Server

import needs

pytestmark = needs.machines(1500)

_ASK = """
import http.client, json, socket, sys
line = http.client.HTTPConnection("launcher")
line.sock = socket.socket(socket.AF_UNIX)
line.sock.connect(sys.argv[1])
line.request(sys.argv[2], sys.argv[3], sys.argv[4] or None)
answer = line.getresponse()
print(json.dumps([answer.status, json.loads(answer.read())]))
"""


def inside(server: Server, part: str, *command: str) -> str:
    return server.machine.docker("exec", server.container(part), *command, check=False)


def as_the_hub(server: Server, method: str, target: str, body: Any = None) -> tuple[int, Any]:
    """What the launcher answers to one who has taken over the hub's container."""
    socket = f"{server.state}/run/launcher/launcher.sock"
    sent = json.dumps(body) if body is not None else ""
    python = "/opt/hubfleet/environment/bin/python"
    status, told = json.loads(inside(server, "hub", python, "-c", _ASK, socket, method, target, sent))
    return int(status), told


def test_the_launcher_has_no_rights_on_homes(server: Server) -> None:
    status = inside(server, "launcher", "cat", "/proc/self/status")
    (bounding,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:")]
    assert bounding == 0b11, "CHOWN and DAC_OVERRIDE"
    for homes in (server.homes, f"/host{server.homes}"):
        assert "Read-only file system" in inside(server, "launcher", "touch", f"{homes}/new")
    assert inside(server, "launcher", "touch", f"{server.state}/launcher/new") == "", "where it may write, it can"
    inside(server, "launcher", "rm", f"{server.state}/launcher/new")


def test_the_keeper_sees_homes_and_reaches_nobody(server: Server) -> None:
    assert inside(server, "homes", "ls", "/sys/class/net") == "lo"
    assert "No such file" in inside(server, "homes", "ls", "/var/run/docker.sock")
    assert sorted(inside(server, "homes", "ls", "-A", str(server.state)).split()) == ["homes", "keeper", "run"]
    assert server.status()["processes"]["homes"]["state"] == "running"
    assert "keeper of homes" in server.run("logs", "homes").stdout


@pytest.fixture
def ada(server: Server) -> str:
    """Somebody with a home and no server."""
    person = server.person(server.new_name("ada"))
    assert person.start()[-1]["ready"]
    kernel = person.kernel()
    kernel.run("open('kept.txt', 'w').write('words')")
    kernel.close()
    person.stop()
    return str(person.name)


def test_the_operator_sees_whose_a_home_is(server: Server, ada: str) -> None:
    found = {one["person"]: one for one in json.loads(server.run("homes", "--json").stdout)["homes"]}
    home = found[ada]
    assert home["directory"] == f"{server.homes}/{ada}"
    assert str(home["uid"]) == server.machine.run("stat", "--format", "%u", home["directory"])
    assert home["used"] > 0
    shown = server.run("homes").stdout
    assert "person" in shown
    assert ada in shown


def test_the_hub_learns_how_full_a_home_is_and_can_put_none_away(server: Server, ada: str) -> None:
    assert as_the_hub(server, "POST", "/v1/home", {"user": ada}) == (200, {"used": None, "limit": None})
    for method, target, body in (("POST", "/v1/archive", {"user": ada}), ("GET", "/v1/homes", None)):
        assert as_the_hub(server, method, target, body) == (403, {"error": "only the machine's operator may ask"})
    assert server.machine.run("cat", f"{server.homes}/{ada}/kept.txt") == "words"
    assert "No such file" in inside(server, "hub", "ls", f"{server.state}/run/keeper")


def test_a_home_is_put_away_when_nobody_is_in_it(server: Server, ada: str) -> None:
    person = server.known(ada)
    assert person.start()[-1]["ready"]
    done = server.run("homes", "archive", ada, "--yes", check=False)
    assert done.returncode == 4
    assert f"{ada} has a server ({ada}), which writes there; stop it first" in " ".join(done.stderr.split())
    person.stop()
    before = server.machine.run("stat", "--format", "%i", f"{server.homes}/{ada}")
    said = server.run("homes", "archive", ada, "--yes").stdout
    (tar,) = [word for word in said.split() if word.endswith(".tar.gz")]
    assert "kept.txt" in server.machine.run("tar", "-tzf", tar)
    assert ada not in [one["person"] for one in json.loads(server.run("homes", "--json").stdout)["homes"]]
    assert person.start()[-1]["ready"]
    assert server.machine.run("stat", "--format", "%i", f"{server.homes}/{ada}") != before
    assert person.jupyter("GET", "/api/contents/kept.txt").status_code == 404
    person.stop()
    assert server.changes() == []
