"""Engine docker on the machine that one types at, without SSH; and a hub that goes from one engine to the other there.

The command is installed on a machine of the lab as people install it: from the sources, with `make venv`.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from harness import PASSWORD, Person, RunningHub
from machines import Lab, Machine
from stock import SETTINGS, stocked

import needs

pytestmark = needs.machines()

REPOSITORY = Path(__file__).parents[2]
SOURCES = ("src", "requirements", "scripts", "Makefile", "pyproject.toml", "README.md", "LICENSE")
INSTALL = """
export DEBIAN_FRONTEND=noninteractive
apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv python3-pip make
cd /root/hubfleet && make venv && mkdir -p /root/class
"""
STATE = Path("/var/lib/hubfleet/lab")
REFUSED = 3


class Here(RunningHub):
    """A hub of the machine's own: commands are typed there, and people come by the machine's address."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.name, self.base = machine, "lab", STATE.parent
        self.homes = STATE / "homes"
        self.url = ""

    def settings_are(self, engine: str, **settings: object) -> None:
        """Both engines are reached without HTTPS: it is not the subject."""
        docker = {**SETTINGS, "https": "off"} if engine == "docker" else {"hub": "lab"}
        listen = {"address": "0.0.0.0", "port": 8000}
        given = {**docker, "engine": engine, "listen": listen, "login": {"password": "file"}, **settings}
        self.machine.run("cat > /root/class/hubfleet.yaml", text=json.dumps(given))
        self.url = f"http://{self.machine.address}:8000"

    def typed(self, *arguments: str, code: int = 0) -> str:
        """All that `hubfleet ARGUMENTS` says there."""
        line = f"cd /root/class && /root/hubfleet/.venv/bin/hubfleet {' '.join(arguments)}; echo ended with $?"
        said, _, ended = self.machine.run(f"({line}) 2>&1").rpartition("ended with ")
        assert int(ended) == code, said
        return said

    def status(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.typed("status", "--json"))
        return found

    def password(self, name: str) -> str:
        text = self.machine.run("cat /root/class/hubfleet.secrets.yaml")
        return next(line.split()[-1] for line in text.splitlines() if line.strip().startswith(f"{name}:"))

    def known(self, name: str) -> Person:
        """Somebody who has signed up, with a running server."""
        person = Person(self, name, PASSWORD)
        assert person.log_in().status_code == 302
        assert person.start()[-1].get("ready")
        return person

    def leftovers(self) -> list[str]:
        """What runs there of either engine: processes, containers, units."""
        processes = self.machine.run(
            "ps -eo args | grep -E '[h]ubfleet.supervisor|[j]upyterhub|[c]onfigurable-http' ||:"
        )
        containers = self.machine.docker("ps", "--all", "--quiet", "--filter", "name=hubfleet-lab")
        units = self.machine.run("systemctl list-units --all --no-legend 'hubfleet-lab*'")
        return [*processes.splitlines(), *containers.split(), *units.splitlines()]


@pytest.fixture(scope="module")
def here(lab: Lab) -> Here:
    """The command, installed there; no hub yet."""
    machine = stocked(lab)
    given = io.BytesIO()
    with tarfile.open(fileobj=given, mode="w") as archive:
        for name in SOURCES:
            archive.add(REPOSITORY / name, f"hubfleet/{name}", filter=_source)
    take = ["ssh", "-T", *machine.options(), f"root@{machine.address}", "tar -C /root -xf -"]
    subprocess.run(take, input=given.getvalue(), check=True)
    machine.run(INSTALL)
    return Here(machine)


def _source(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uid = member.gid = 0
    return None if "__pycache__" in member.name or member.name.endswith(".egg-info") else member


def test_a_hub_comes_up_serves_and_goes(here: Here) -> None:
    here.settings_are("docker")
    assert "PROBLEM" not in here.typed("check")
    said = here.typed("up", "--yes", "--detach")
    assert "note: a hub of containers is always detached; --detach changes nothing." in said
    assert "Hub lab is ready: http://" in said
    assert here.status()["state"] == "running"
    ada = here.person("ada")
    assert ada.start()[-1].get("ready")
    kernel = ada.kernel()
    assert kernel.run("print(6 * 7)") == "42\n"
    kernel.close()
    assert "POST /hub/login" in here.typed("logs", "hub")
    assert "ada" in here.typed("status")
    said = here.typed("down", "--yes")
    assert "and so is the 1 server that ran on it. Files stay in /var/lib/hubfleet/lab." in said
    assert said.rstrip().endswith("hubfleet up"), "where it is always detached, --detach is no advice"
    assert here.leftovers() == []
    assert "stopped" in here.typed("status")
    assert "nothing to change" not in here.typed("plan")


def test_from_one_engine_to_the_other_and_back(here: Here) -> None:
    """Homes and people are kept; nothing is changed while the other engine's hub runs, and nothing of it is left."""
    here.settings_are("docker")
    here.typed("up", "--yes")
    ada = here.known("ada")
    kernel = ada.kernel()
    kernel.run("open('kept.txt', 'w').write('by docker')")
    kernel.close()
    owner = here.machine.run("stat -c %u:%g /var/lib/hubfleet/lab/homes/ada/kept.txt")

    for engine, before in (("local", "docker"), ("docker", "local")):
        here.settings_are(engine)
        refusal = f"hub lab still runs with engine {before}, with 1 running server, and the configuration says engine "
        files = here.machine.run("cd /var/lib/hubfleet/lab && cat hub/*.json launcher/*.json launcher/servers/*; ls")
        for command in (("check",), ("up", "--yes"), ("down", "--delete-data", "--yes-delete", "lab")):
            said = here.typed(*command, code=REFUSED)
            assert f"{refusal}{engine}. Try: " in said, said
            assert "homes, accounts and people stay" in said
        assert refusal in here.typed("plan")
        assert refusal in here.typed("status")
        now = here.machine.run("cd /var/lib/hubfleet/lab && cat hub/*.json launcher/*.json launcher/servers/*; ls")
        assert now == files
        assert ada.servers(), "it goes on meanwhile"

        said = here.typed("down", "--yes")
        assert f"note: it runs with engine {before}, and the configuration says {engine}." in said
        assert "and so is the 1 server that ran on it" in said
        assert here.leftovers() == []
        assert "Start it with" in here.typed("status")
        assert "not running" in here.typed("down", "--yes")
        # a launcher cannot read what the other one kept of servers, as it is there after a power cut
        record = {"id": "0123456789abcdef", "user": "eve", "server": "", "handle": {"x": 1}}
        here.machine.run("cat > /var/lib/hubfleet/lab/launcher/servers/x.json", text=json.dumps(record))

        here.typed("up", "--yes", "--detach")
        assert here.status()["state"] == "running"
        ada = here.known("ada")
        kernel = ada.kernel()
        assert kernel.run("print(open('kept.txt').read())") == "by docker\n"
        kernel.close()
        assert here.machine.run("stat -c %u:%g /var/lib/hubfleet/lab/homes/ada/kept.txt") == owner
        assert "nothing to change" in here.typed("plan")
    here.typed("down", "--yes")
    assert here.leftovers() == []
