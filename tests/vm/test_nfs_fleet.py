"""A hub that `hubfleet up` brings to machines with kernels of their own: homes by NFS, limited where they are by XFS,
and what passes between the machines encrypted.

One fleet for all, and the tests build on each other. Its images are not built or fetched in guests, see `stockdisk`.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator

import pytest
import requests
from guestfleet import HOMES, GuestFleet, page, save, started
from guestimages import Image
from guests import Guests, awaited
from harness import Kernel, Person
from wire import Wire

import needs
from waiting import soon

pytestmark = needs.guests(2400)

MIB = 1024**2
AWAY_S = float(os.environ.get("HUBFLEET_TEST_STORAGE_AWAY_S", "20"))
"""How long the storage is away while somebody writes, beside its boot."""
BACK_LIMIT_S = 300.0
"""Until all that was on a machine is there again after a power cut."""
OWN = """
import os
with open('note.txt', 'w') as file:
    file.write('words')
print(os.getuid(), os.getgid())
"""
FILL = """
import os
def full(name, size, *, each):
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    what, found = 'close', []
    try:
        try:
            while True:
                what = 'write'
                os.write(file, bytes(size))
                if each:
                    what = 'fsync'
                    os.fsync(file)
        except OSError as error:
            found = [what, error.errno]
    finally:
        try:
            os.close(file)
        except OSError as error:
            found = found or ['close', error.errno]
    return found
"""
"""How a program learns that there is no room: in which call, and by which number."""
WRITER = """
import os, threading, time
written = []
def write():
    with open('lines', 'a') as file:
        while True:
            file.write(f'{len(written) + 1}\\n')
            file.flush()
            os.fsync(file.fileno())
            written.append(1)
            time.sleep(0.3)
threading.Thread(target=write, daemon=True).start()
"""
"""Counts a line when it is on the storage's disk."""
WORD = "hubfleet-said-this"


@pytest.fixture(scope="module")
def fleet(guests: Guests, plain: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestFleet]:
    """Three machines; nothing is deployed yet."""
    made = GuestFleet(guests, plain, tmp_path_factory.mktemp("fleet"))
    with made.entered():
        yield made


@pytest.fixture(scope="module")
def people() -> dict[str, Person]:
    """Those who are there already, by name."""
    return {}


def test_it_comes_with_one_command(fleet: GuestFleet) -> None:
    wanted = fleet.plan_untried()
    assert {"container", "export", "swarm member", "network"} <= wanted
    assert not wanted & {"image", "image from the registry"}, "a guest would take an hour for it"
    fleet.up()
    assert "nothing to change" in fleet.run("plan").stdout
    assert fleet.containers(fleet.storage) == {"homes"}
    assert fleet.containers(fleet.worker) == {"guard"}
    assert fleet.containers(fleet.hub) == {"launcher", "proxy", "hub", "edge", "registry", "guard"}


def test_a_file_is_its_users_on_every_machine(fleet: GuestFleet, people: dict[str, Person]) -> None:
    ada = people["ada"] = fleet.person("ada")
    fleet.have_servers_on(fleet.hub)
    uid, gid = started(ada).run(OWN).split()
    seen = fleet.storage.run(f"stat -c '%u:%g %a %s' {HOMES}/ada {HOMES}/ada/note.txt")
    home, note = (line.split() for line in seen.splitlines())
    assert home[:2] == [f"{uid}:{gid}", "700"]
    assert (note[0], note[2]) == (f"{uid}:{gid}", "5")
    ada.stop()
    fleet.have_servers_on(fleet.worker)
    kernel = started(ada)
    assert "hubfleet-lab-user-" in fleet.worker.run("docker ps --format '{{.Names}}'")
    found = kernel.run("status = os.stat('note.txt') if 'os' in dir() else __import__('os').stat('note.txt')")
    assert found == ""
    assert kernel.run("print(open('note.txt').read(), status.st_uid, status.st_gid)").split() == ["words", uid, gid]


def test_nobody_sees_more_than_the_own_home(fleet: GuestFleet, people: dict[str, Person]) -> None:
    fleet.storage.run(f"mkdir -m 777 {HOMES}/other && echo mine >{HOMES}/other/secret")
    kernel = people["ada"].kernel()
    lines = kernel.run("print(open('/proc/mounts').read())").splitlines()
    (mounted,) = [line.split()[:3] for line in lines if " nfs" in line]
    assert mounted == [f":{HOMES}/ada", "/home/ada", "nfs4"]
    assert kernel.run("import os; print(os.listdir('/home'))").strip() == "['ada']"
    fleet.storage.run(f"rm -r {HOMES}/other")


def test_root_of_a_worker_comes_into_no_home(fleet: GuestFleet, people: dict[str, Person]) -> None:
    place = fleet.root_of(fleet.worker, people["ada"])
    for command in (f"cat {place}/note.txt", f"touch {place}/new", f"ls {place}"):
        assert "denied" in fleet.worker.run(f"{command} 2>&1 || true"), command


# -- limits ----------------------------------------------------------------------------------------------------------


def homes_of(fleet: GuestFleet) -> dict[str, tuple[int, int]]:
    return {home["name"]: (home["used"], home["limit"]) for home in fleet.status()["homes"]}


def test_homes_are_counted_and_limited_on_the_file_system_that_was_there(
    fleet: GuestFleet, people: dict[str, Person]
) -> None:
    used, limit = homes_of(fleet)["ada"]
    assert limit == 40 * MIB
    assert used < 10 * MIB
    kernels = fleet.storage.run(f"xfs_quota -x -c 'report -p -N -b' {HOMES}")
    assert any(line.split()[3] == str(40 * 1024) for line in kernels.splitlines() if len(line.split()) > 3), kernels
    assert page(people["ada"]).endswith("of 40M.")
    ada = people["ada"].kernel()
    assert ada.run("import os; found = os.statvfs('.'); print(found.f_blocks * found.f_frsize)").strip() == str(
        40 * MIB
    )


def test_a_home_that_is_nearly_full_is_told_of(fleet: GuestFleet, people: dict[str, Person]) -> None:
    ada = people["ada"]
    assert save(ada, "work.txt", "the first\n")[0] == 201
    ada.kernel().run(f"open('ballast', 'wb').write(bytes({37 * MIB}))")
    found = fleet.status()
    assert any(line.startswith("1 home nearly full: ada (3") for line in found["warnings"]), found
    assert page(ada).startswith("Your home is nearly full (3")


def test_who_writes_beyond_the_limit_is_told(fleet: GuestFleet, people: dict[str, Person]) -> None:
    ada = people["ada"]
    kernel = ada.kernel()
    kernel.run(FILL)
    said = kernel.run(f"print(full('each', {MIB}, each=True), full('late', {MIB}, each=False))")
    each, late = (json.loads(one) for one in re.findall(r"\[[^]]*\]", said.replace("'", '"')))
    room_numbers = (errno.ENOSPC, errno.EDQUOT)
    assert each[0] in ("write", "fsync"), said
    assert each[1] in room_numbers
    assert late[1] in room_numbers, "it was told by write, or by close at the latest"
    # By NFS a home that has a little room left says that it has a whole piece of it.
    kernel.run("os.truncate('late', 0); full('rest', 4096, each=True)")
    kernel.run(f"os.truncate('ballast', {37 * MIB - 300_000})")
    left = "left = os.statvfs('.'); print(left.f_bavail * left.f_frsize)"
    assert soon(lambda: int(kernel.run(left))) >= MIB
    used, limit = homes_of(fleet)["ada"]
    assert limit - MIB < used < limit
    assert page(ada).startswith("Your home is full (")

    status, words = save(ada, "work.txt", "the second\n" * 400_000)
    assert status == 507
    assert words.startswith("Your home is full (")
    assert "of 40.0 MB are in use). work.txt was not saved" in words
    assert "open /user/ada/hubfleet/room" in words
    assert fleet.storage.run(f"cat {HOMES}/ada/work.txt") == "the first"
    assert fleet.storage.run(f"ls -A {HOMES}/ada | grep -e nfs0 -e work") == "work.txt"


def test_a_full_home_starts_and_has_a_way_out(fleet: GuestFleet, people: dict[str, Person]) -> None:
    ada = people["ada"]
    ada.stop()
    kernel = started(ada)
    assert kernel.run("print(6 * 7)").strip() == "42"
    # What the home's own directories have no room for is in memory.
    assert kernel.run("import os; print(os.environ.get('HUBFLEET_HOME_LIMIT'))").strip() != "None"
    assert "are in use" in ada.room()
    freed = ada.room({"action": "files", "file": "ballast"})
    assert re.search(r"Done: 3[5-8]\.\d MB more are free\.", freed), freed
    assert save(ada, "work.txt", "the second\n")[0] == 200
    assert fleet.storage.run(f"cat {HOMES}/ada/work.txt") == "the second"
    used, _ = homes_of(fleet)["ada"]
    assert used < 10 * MIB


# -- between the machines --------------------------------------------------------------------------------------------


def speak(kernel: Kernel) -> None:
    """Have the word come to a browser by the network between the machines. Only its reverse is ever in the home."""
    said = kernel.run(f"print(({WORD[::-1]!r}[::-1] + ' ') * 2000)")
    assert said.split() == [WORD] * 2000


def test_what_passes_between_the_machines_is_encrypted(fleet: GuestFleet, people: dict[str, Person]) -> None:
    kernel = people["ada"].kernel()
    with Wire(fleet.guests, WORD.encode()) as wire:
        speak(kernel)
        soon(lambda: wire.between(fleet.hub, fleet.worker, "esp") > 20)
    assert wire.between(fleet.hub, fleet.worker, "udp/4789") == 0
    assert wire.clear == 0
    # And what keeps homes is asked the same way.
    with Wire(fleet.guests, WORD.encode()) as wire:
        homes_of(fleet)
        soon(lambda: wire.between(fleet.hub, fleet.storage, "esp") > 4)
    assert wire.between(fleet.hub, fleet.storage, "udp/4789") == 0


# -- when the storage is away ----------------------------------------------------------------------------------------


def test_who_writes_while_the_storage_is_away_loses_nothing_and_the_hub_stays(
    fleet: GuestFleet, people: dict[str, Person]
) -> None:
    ada = people["ada"]
    kernel = ada.kernel()
    kernel.run(WRITER)

    def count() -> int:
        return int(kernel.run("print(len(written))"))

    soon(lambda: count() > 5, 120)
    before = count()
    fleet.storage.power_cut()
    found = fleet.status()
    assert found["state"] == "degraded"
    assert "files1" in " ".join(found["problems"])
    assert [one["user"] for one in found["servers"]] == ["ada"]
    fleet.hub.run(f"sleep {AWAY_S:.0f}", limit_s=AWAY_S + 60)
    assert requests.get(f"{fleet.url}/hub/api/", timeout=60).status_code == 200
    assert ada.servers()[""]["ready"]
    fleet.storage.start()
    fleet.introduce()
    kernel.close()  # nobody has answered on that connection for a while
    after = before + 20
    soon(lambda: count() > after, BACK_LIMIT_S)  # a storage that starts gives those who wait their time
    told = count()
    lines = fleet.storage.run(f"cat {HOMES}/ada/lines").splitlines()
    assert lines == [str(number) for number in range(1, len(lines) + 1)]
    assert len(lines) >= told
    awaited(fleet.storage, "docker ps --format '{{.Names}} {{.Status}}'", "(healthy)", BACK_LIMIT_S)
    soon(lambda: fleet.status()["state"] == "running", BACK_LIMIT_S)
    assert homes_of(fleet)["ada"][1] == 40 * MIB


def test_afterwards_others_start(fleet: GuestFleet, people: dict[str, Person]) -> None:
    ben = people["ben"] = fleet.person("ben")
    assert started(ben).run("print(6 * 7)").strip() == "42"
    assert homes_of(fleet)["ben"][1] == 40 * MIB


# -- and without encryption ------------------------------------------------------------------------------------------


def test_switched_off_everything_passes_in_the_clear(fleet: GuestFleet, people: dict[str, Person]) -> None:
    fleet.encrypted = False
    fleet.write("")
    fleet.run("down", "--yes", timeout=600)
    fleet.up()
    fleet.have_servers_on(fleet.worker)
    ada = people["ada"]
    kernel = started(ada)
    with Wire(fleet.guests, WORD.encode()) as wire:
        speak(kernel)
        soon(lambda: wire.between(fleet.hub, fleet.worker, "udp/4789") > 20)
    assert wire.between(fleet.hub, fleet.worker, "esp") == 0
    assert wire.clear > 0
