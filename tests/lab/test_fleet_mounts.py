"""File systems of the site that are on machines with users' servers only: the hub's machine has none of them.

One fleet for all, and the tests build on each other.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fleet_there import Fleet, started
from machines import Lab, Machine
from stock import stocked

import needs

pytestmark = needs.machines()

WORK, DATA = "/srv/work", "/srv/data"


@pytest.fixture(scope="module")
def place(lab: Lab, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Nothing is deployed yet. worker1 has what is to be shown; worker2 a plain directory in the homes' place."""
    hub = stocked(lab, "hub1", shared=shared)
    one = lab.start("worker1", docker_installed=True, shared=shared)
    two = lab.start("worker2", docker_installed=True)
    two.run("mkdir", "-p", shared, WORK)
    one.run(f"mkdir -p {WORK}/all {DATA} && chmod 777 {DATA}")
    _mount(one)
    made = Fleet(hub, [one, two], shared, tmp_path_factory.mktemp("fleet"))
    made.more["storage"] = {
        "homes": {"path": str(shared), "share": "mounted"},
        "mounts": [f"{WORK}/all:/work:rw", f"{DATA}:/data:rw"],
        "must_be_mounted": [WORK],
    }
    return made


@pytest.fixture
def fleet(place: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """The same; this process trusts its edge's authority, if there is one."""
    place.trusted(monkeypatch)
    return place


def _mount(machine: Machine) -> None:
    machine.run(f"mount -t tmpfs none {WORK} && mkdir -m 777 {WORK}/all")


def _state(machine: Machine) -> list[str]:
    """All that a deployment would leave there."""
    asked = (
        "docker ps --all --quiet; docker network ls --quiet; docker volume ls --quiet; docker images --quiet",
        "docker info --format '{{.Swarm.LocalNodeState}}'",
        "ls -lA /var/lib /var/lib/hubfleet /etc/hubfleet /etc/docker /etc/systemd/system 2>&1",
        "cat /etc/passwd /etc/group",
        "ls -lAR /srv",
    )
    return [machine.run(line, check=False) for line in asked]


def test_what_one_machine_lacks_is_named_before_anything_is_changed(fleet: Fleet) -> None:
    fleet.grow("worker1", "worker2")
    file = fleet.folder / "hubfleet.yaml"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=1))
    lines = file.read_text().splitlines()
    at = {
        key: next(i for i, line in enumerate(lines, 1) if f'"{key}"' in line) for key in ("mounts", "must_be_mounted")
    }
    machines = [fleet.machine, *fleet.workers.values()]
    before = [_state(machine) for machine in machines]
    wanted = (
        f"worker2: hubfleet.yaml:{at['mounts']}: {DATA} is missing on worker2. Try: create it, or remove the mount",
        f"worker2: hubfleet.yaml:{at['must_be_mounted']}: {WORK} is not mounted on worker2. Try: mount it, there",
        f"worker2: {fleet.homes} is on the machine's own disk, and its files would be on no other machine",
    )
    for words in (("check",), ("up", "--yes")):
        code, said = fleet.fails(*words)
        assert code == 3, said
        assert [text for text in wanted if text not in said] == [], said
        assert "missing on worker1" not in said
        assert "on hub1" not in said, "it has no users' servers"
    assert [_state(machine) for machine in machines] == before


def test_servers_are_shown_what_only_their_machine_has(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.grow("worker1")
    fleet.up()
    fleet.trusted(monkeypatch)
    assert "nothing to change" in fleet.plan()
    worker, ada = fleet.workers["worker1"], fleet.person("ada")
    worker.run(f"echo there > {DATA}/text")
    started(ada)
    kernel = ada.kernel()
    assert kernel.run("print(open('/data/text').read())").strip() == "there"
    kernel.run("open('/work/new', 'w').write('words'); open('/data/new', 'w').write('more')")
    assert worker.run(f"cat {WORK}/all/new {DATA}/new") == "wordsmore"
    ada.stop()


def test_where_it_is_mounted_no_more_nobody_starts(fleet: Fleet) -> None:
    worker, ben = fleet.workers["worker1"], fleet.person("ben")
    worker.run("umount", WORK)
    last = ben.start()[-1]
    assert last.get("failed"), last
    assert f"worker1: {WORK} is not mounted there, and files would be on the machine's own disk" in last["message"]
    assert worker.run(f"ls -A {WORK}/all") == ""
    _mount(worker)
    started(ben)
    ben.kernel().run("open('/work/again', 'w').write('words')")
    assert worker.run(f"cat {WORK}/all/again") == "words"
    ben.stop()
