"""Homes on a file system that machines have already: what of it would keep people from their files is found by check.

Three machines, on which nothing is ever deployed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fleet_there import Fleet
from machines import Lab, Machine
from stock import stocked

import needs
from hubfleet.agent.homestrial import OLD_S, PREFIX
from hubfleet.machines import SSHMachine
from waiting import soon

pytestmark = needs.machines()

UID = 99_999
WORKERS = ("worker1", "worker2")
TRANSLATED = r"""
import ctypes, os, struct, subprocess, sys, time
libc, (place, ids) = ctypes.CDLL(None, use_errno=True), sys.argv[1:]
def call(*words):
    done = libc.syscall(*words)
    assert done >= 0, (words, os.strerror(ctypes.get_errno()))
    return done
holder = subprocess.Popen(["unshare", "--user", "sleep", "infinity"])
while os.readlink(f"/proc/{holder.pid}/ns/user") == os.readlink("/proc/self/ns/user"):
    time.sleep(0.01)
for kind in ("uid_map", "gid_map"):
    with open(f"/proc/{holder.pid}/{kind}", "w") as file:
        file.write(ids.replace(",", "\n"))
tree = call(428, -100, place.encode(), 0o2000001)                    # open_tree: another mount of it
users = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY)
told = struct.pack("QQQQ", 0x100000, 0, 0, users)
call(442, tree, b"", 0x1000, told, ctypes.c_size_t(len(told)))        # mount_setattr: with these ids
call(429, tree, b"", -100, place.encode(), 4)                         # move_mount: over what is there
holder.kill()
"""
"""Mounts a directory over itself, with ids translated as a server of NFS does: "theirs here count", one or more."""


@pytest.fixture(scope="module")
def place(lab: Lab, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Nothing is deployed; all three have the homes' place in common."""
    hub = stocked(lab, "hub1", shared=shared)
    workers = [lab.start(name, docker_installed=True, shared=shared) for name in WORKERS]
    made = Fleet(hub, workers, shared, tmp_path_factory.mktemp("fleet"))
    made.grow(*WORKERS)
    (shared / "ada").mkdir(mode=0o700)
    os.chown(shared / "ada", 70_000, 70_000)
    return made


@pytest.fixture
def fleet(place: Fleet) -> Iterator[Fleet]:
    """The same; whatever is found, check leaves nothing."""
    before = listed(place)
    yield place
    assert listed(place) == before


def listed(fleet: Fleet) -> list[tuple[str, int, int]]:
    """What is in the homes' place: names, owners, and when it was changed."""
    found = [(path, path.lstat()) for path in sorted(fleet.homes.rglob("*"))]
    return [(str(path), one.st_uid, one.st_mtime_ns) for path, one in found]


def problems(fleet: Fleet) -> list[str]:
    """What check says is wrong."""
    done = fleet.run("check", "--json", check=False)
    found = [one["text"] for one in json.loads(done.stdout)["findings"] if one["level"] == "problem"]
    assert done.returncode == (3 if found else 0), done.stderr
    return found


Mount = Callable[[Machine, Path], None]


def read_only(machine: Machine, homes: Path) -> None:
    machine.run(f"mount --bind {homes} {homes} && mount -o remount,bind,ro {homes}")


def translated(ids: str) -> Mount:
    def mount(machine: Machine, homes: Path) -> None:
        machine.run("python3", "-", homes, ids, text=TRANSLATED)

    return mount


def another(machine: Machine, homes: Path) -> None:
    machine.run(f"mount -t tmpfs none {homes}")


def own_layer(machine: Machine, homes: Path) -> None:
    """All that others have is seen, and what is written stays on the machine."""
    layers = f"lowerdir={homes},upperdir=/run/layer/upper,workdir=/run/layer/work"
    machine.run(f"mkdir -p /run/layer/upper /run/layer/work && mount -t overlay none -o {layers} {homes}")


@contextmanager
def mounted(machine: Machine, homes: Path, mount: Mount) -> Iterator[None]:
    mount(machine, homes)
    try:
        yield
    finally:
        machine.run("umount", homes)


def test_where_all_is_well_it_is_said_what_was_tried(fleet: Fleet) -> None:
    said = fleet.run("check").stdout
    assert f"{fleet.homes}: user id {UID} writes on worker1 and worker2, and reads on each what was written" in said


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        (read_only, "hub1: {homes} is mounted read-only, and homes are made there. Try: mount -o remount,rw {homes}"),
        # as root_squash: what root does counts as nobody's
        (translated(f"65534 0 1,{UID} {UID} 1"), "hub1: {homes} takes no directory from root (Permission denied)"),
        (translated("0 0 1"), f"hub1: {{homes}} takes directories from root, who cannot give them to user id {UID} ("),
    ],
)
def test_where_the_hubs_machine_could_make_no_homes(fleet: Fleet, mount: Mount, words: str) -> None:
    with mounted(fleet.machine, fleet.homes, mount):
        (problem,) = problems(fleet)
        code, said = fleet.fails("up", "--yes")
    assert problem.startswith(words.format(homes=fleet.homes)), problem
    assert (code, problem in said, "Nothing was changed" in said) == (3, True, True), said
    assert fleet.machine.run("ls /var/lib/hubfleet", check=False).endswith("No such file or directory")


@pytest.mark.parametrize("name", WORKERS)
@pytest.mark.parametrize(
    ("mount", "words"),
    [
        (read_only, "{homes} is mounted read-only. Try: mount -o remount,rw {homes}, there"),
        # as all_squash
        (translated("0 0 1"), f"what hub1 gives to user id {UID} in {{homes}} belongs to somebody else there. Try: "),
        (another, "what hub1 makes in {homes} is not seen there within 10 s. Try: mount the same file system on both"),
    ],
)
def test_where_people_could_not_write_on_one_of_the_machines(fleet: Fleet, name: str, mount: Mount, words: str) -> None:
    worker = fleet.workers[name]
    with mounted(worker, fleet.homes, mount):
        (problem,) = problems(fleet)
    assert problem.startswith(f"{name}: {words.format(homes=fleet.homes)}"), problem


def test_where_what_is_written_stays_on_the_machine(fleet: Fleet) -> None:
    with mounted(fleet.workers["worker1"], fleet.homes, own_layer):
        (problem,) = problems(fleet)
    assert problem.startswith(f"worker2: what user id {UID} writes in {fleet.homes} on worker1 is not seen there")


def test_a_full_one_is_a_note(fleet: Fleet) -> None:
    """It is no reason to deploy nothing: that may be what is to help."""

    def full(machine: Machine, homes: Path) -> None:
        machine.run(f"mount -t tmpfs -o size=4k,nr_inodes=1,mode=755 none {homes}")

    with mounted(fleet.machine, fleet.homes, full):
        assert problems(fleet) == []
        assert f"hub1: nothing can be made in {fleet.homes} (No space left on device)" in fleet.run("check").stdout


def test_one_that_is_broken_off_goes_with_the_connection_or_by_the_next(fleet: Fleet) -> None:
    def trials() -> list[Path]:
        return [path for path in fleet.homes.iterdir() if path.name.startswith(PREFIX)]

    hub = SSHMachine("hub1", f"root@{fleet.machine.address}", fleet.machine.options())
    given = {"place": str(fleet.homes), "uid": UID, "gid": UID}
    hub.homes_trial("make", **given)
    assert len(trials()) == 1
    hub.close()
    soon(lambda: trials() == [])

    hub.homes_trial("make", **given)
    fleet.machine.kill(int(fleet.machine.run("pgrep -f 'hubfleet[.]agent'").split()[0]))
    hub.close()
    (left,) = trials()
    assert problems(fleet) == []
    assert trials() == [left], "it may be somebody's who is at it"
    os.utime(left, (0, left.parent.stat().st_mtime - OLD_S - 60))
    assert problems(fleet) == []
    assert trials() == []
