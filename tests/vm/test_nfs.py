"""Homes by NFS, with kernels at both ends: who gets at what, and what happens when the storage is away.

Servers are what the launcher describes to the swarm, but for their program.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from containers import OwnTable
from guestimages import Image
from guests import Guest, Guests, awaited
from shares import ADA, BEN, IMAGE, PLACE, Fleet, mount

import needs
from hubfleet import homeschecks, sharechecks
from hubfleet.config import Config, default_config
from hubfleet.config.effective import effective
from hubfleet.engines.swarm.launch import SwarmLaunch
from hubfleet.engines.swarm.specification import Address
from hubfleet.errors import CheckError
from hubfleet.launcher.base import Request, StartFailed
from hubfleet.resources import Disk, Export
from waiting import soon

pytestmark = needs.guests(1500)

MIB = 1024**2
AWAY_S = float(os.environ.get("HUBFLEET_TEST_STORAGE_AWAY_S", "20"))
"""How long the storage is away while somebody writes, beside its boot."""
HANG_LIMIT_S = 150.0
"""Within this a start has failed whose home cannot be mounted: half a minute, on machines that are ten times slower."""
LEFT_LIMIT_S = 150.0
"""Until a machine has removed what a server was, and unmounted its home."""
WRITER = """
exec 3>>/home/ada/held
i=0
while true; do
    i=$((i+1))
    echo $i >>/home/ada/lines && echo $i
    echo $i >&3
    /bin/busybox sleep 0.3
done
"""
"""Says each number when the file that it was added to has been closed, which is when it is on the storage's disk."""


@pytest.fixture(scope="module")
def fleet(guests: Guests, plain: Image) -> Iterator[Fleet]:
    """Four machines; the storage exports homes of ada and ben to the two workers."""
    with tempfile.TemporaryDirectory(prefix="hf-", dir="/tmp") as local:
        made = Fleet(guests, plain, Path(local))
        made.home("ada", ADA)
        made.home("ben", BEN)
        yield made


@pytest.fixture
def unmounted(fleet: Fleet) -> Iterator[None]:
    """Nothing is mounted at /mnt afterwards."""
    yield
    for guest in (fleet.hub, fleet.one, fleet.two):
        guest.run("! mountpoint -q /mnt || umount -l /mnt")


# -- the export ------------------------------------------------------------------------------------------------------


def test_a_server_of_nfs_4_alone_is_installed_and_a_second_time_nothing_is_done(fleet: Fleet) -> None:
    assert fleet.apply(fleet.export) == ()
    assert fleet.store.run("cat /proc/fs/nfsd/versions") == "-3 +4 +4.1 +4.2"
    listening = fleet.store.run("ss -Hltun | awk '{print $5}' | sed 's/.*://' | sort -un")
    assert listening.split() == ["22", "2049"]


def test_a_machine_that_is_not_named_cannot_mount_homes(fleet: Fleet, unmounted: None) -> None:
    for path in (PLACE, f"{PLACE}/ada"):
        assert "failed" in mount(fleet.hub, fleet, path) or "denied" in mount(fleet.hub, fleet, path)
        assert fleet.hub.run("mountpoint -q /mnt || echo no") == "no"
    more = replace(fleet.export, clients=(*fleet.export.clients, fleet.hub.address))
    try:
        assert len(fleet.apply(more)) == 3
        assert mount(fleet.hub, fleet, f"{PLACE}/ada") == ""  # it is the address that decides
        fleet.hub.run("umount /mnt")
    finally:
        fleet.apply(fleet.export)
    assert mount(fleet.hub, fleet, f"{PLACE}/ada") != ""


def test_one_that_is_open_to_others_too_is_refused(fleet: Fleet) -> None:
    fleet.store.run("echo '/srv *(rw,no_root_squash)' >>/etc/exports")
    try:
        with pytest.raises(CheckError, match=r"open to others: /etc/exports: /srv \*\(rw,no_root_squash\)"):
            fleet.apply(fleet.export)
    finally:
        fleet.store.run("sed -i '/^.srv /d' /etc/exports")


def test_a_closed_directory_on_the_way_is_refused(fleet: Fleet) -> None:
    fleet.store.run("chmod o-x /srv")
    try:
        with pytest.raises(CheckError, match="/srv is closed to everybody but its owner"):
            fleet.apply(fleet.export)
    finally:
        fleet.store.run("chmod o+x /srv")


def test_the_empty_directory_of_a_disk_that_is_not_mounted_is_not_exported(fleet: Fleet, unmounted: None) -> None:
    place = "/srv/on-disk"
    disk = Disk(place, f"{place}.disk", 320 * MIB)
    export = Export("on-disk", place, fleet.export.clients, mounted=True)
    fleet.store.run(f"mkdir -m 711 {place}")
    try:
        fleet.apply(replace(export, mounted=False))
        assert mount(fleet.one, fleet, place) == ""  # as it would be
        fleet.one.run("umount /mnt")

        assert fleet.apply(export)[-1] == "is not exported while its disk is not mounted"
        assert mount(fleet.one, fleet, place) != ""
        assert fleet.one.run("mountpoint -q /mnt || echo no") == "no"

        fleet.apply(disk)
        fleet.store.run("exportfs -f")  # or else the kernel asks again after a minute
        assert mount(fleet.one, fleet, place) == ""
        assert fleet.one.run("umount /mnt; echo done") == "done"
        assert fleet.apply(export) == ()
    finally:
        for one in (export, disk.end()):
            fleet.remove(one)
    assert fleet.store.run("cat /proc/fs/nfsd/threads") != "0", "others are still served"


def test_what_the_kernels_have_and_whether_they_reach_each_other_is_seen_beforehand(fleet: Fleet) -> None:
    host, port = sharechecks.target(fleet.config, fleet.site)
    with fleet.machine(fleet.one) as worker:
        assert worker.facts()["nfs"] == {"client": True, "server": True}
        why = worker.probe([], [(host, port)])["targets"][f"{host}:{port}"]
        assert sharechecks.reached("worker1", "store", host, why, True).level == "ok"
        fleet.store.run(f"iptables -I INPUT -p tcp --dport {port} -j DROP")
        try:
            why = worker.probe([], [(host, port)])["targets"][f"{host}:{port}"]
        finally:
            fleet.store.run("iptables -D INPUT 1")
    assert sharechecks.reached("worker1", "store", host, why, True).level == "problem"


# -- whose files are whose -------------------------------------------------------------------------------------------


def test_what_is_written_on_one_machine_is_there_on_the_other_with_its_owner(fleet: Fleet) -> None:
    fleet.ran(fleet.one, "echo 'from the first' >/home/ada/notes && /bin/busybox chmod 600 /home/ada/notes")
    seen = fleet.ran(
        fleet.two,
        "/bin/busybox stat -c '%u:%g %a' /home/ada /home/ada/notes; cat() { /bin/busybox cat; }; "
        "cat </home/ada/notes; /bin/busybox id -u",
    )
    assert seen.splitlines() == ["70001:80001 700", "70001:80001 600", "from the first", "70001"]
    assert fleet.store.run(f"stat -c '%u:%g %a' {PLACE}/ada/notes") == "70001:80001 600"


def test_only_the_users_own_home_is_mounted_and_it_goes_with_its_server(fleet: Fleet) -> None:
    seen = fleet.ran(fleet.one, "/bin/busybox grep -w nfs4 /proc/self/mounts")
    (line,) = seen.splitlines()
    device, place, _, options = line.split()[:4]
    assert (device, place) == (f":{PLACE}/ada", "/home/ada")
    assert {"rw", "nosuid", "nodev", "hard", "proto=tcp", "vers=4.2"} <= set(options.split(","))
    soon(lambda: fleet.leftovers(fleet.one) == "", LEFT_LIMIT_S)
    # Names stay, and none is added by the server's next start.
    names = fleet.volumes(fleet.one)
    fleet.ran(fleet.one, "true")
    soon(lambda: fleet.leftovers(fleet.one) == "", LEFT_LIMIT_S)
    assert fleet.volumes(fleet.one) == names


def test_another_users_home_is_closed(fleet: Fleet, unmounted: None) -> None:
    fleet.ran(fleet.one, "echo mine >/home/ben/secret", "ben", BEN)
    denied = fleet.begin(fleet.one, "/bin/busybox cat /home/ben/secret; /bin/busybox touch /home/ben/new", "ben", ADA)
    soon(lambda: denied.state().startswith(("Failed", "Rejected", "Complete")), 120)
    assert "mine" not in denied.said()
    denied.remove()
    assert fleet.store.run(f"ls {PLACE}/ben") == "secret"


def as_root(fleet: Fleet, command: str) -> str:
    """What a worker's root is told who has mounted all homes."""
    return fleet.one.run(f"cd /mnt && {{ {command}; }} 2>&1 || true")


def test_root_on_a_worker_is_nobody_on_the_storage(fleet: Fleet, unmounted: None) -> None:
    fleet.ran(fleet.one, "echo mine >/home/ada/secret && /bin/busybox chmod 644 /home/ada/secret")
    assert mount(fleet.one, fleet, PLACE) == ""
    for command in ("cat ada/secret", "touch ada/new", "ls ada", "mkdir new", "chown 0 ada", "rm -rf ada", "ls ."):
        assert "denied" in as_root(fleet, command) or "not permitted" in as_root(fleet, command), command
    assert fleet.store.run(f"cat {PLACE}/ada/secret") == "mine"

    # Without the option root may, and hubfleet sees that it is missing.
    weak = ",".join((*fleet.export.options, "no_root_squash"))
    there = f"{fleet.one.address}:{PLACE}"
    fleet.store.run(f"exportfs -u {there} && exportfs -o {weak} {there}")
    try:
        mounted_again(fleet)
        assert as_root(fleet, "cat ada/secret") == "mine"
        assert fleet.apply(fleet.export) == ("its options are put right",)
    finally:
        fleet.store.run("exportfs -r")
    mounted_again(fleet)
    assert "denied" in as_root(fleet, "cat ada/secret")


def mounted_again(fleet: Fleet) -> None:
    """Nothing is remembered of what was allowed before."""
    fleet.one.run("umount /mnt")
    assert mount(fleet.one, fleet, PLACE) == ""


def test_a_program_that_belongs_to_root_gives_nobody_its_rights(fleet: Fleet, unmounted: None) -> None:
    program, asks = f"{PLACE}/ada/id", "setpriv --reuid 70001 --regid 80001 --clear-groups /mnt/id -u"
    fleet.store.run(f"cp /usr/bin/id {program} && chown 0:0 {program} && chmod 4755 {program}")
    try:
        assert mount(fleet.one, fleet, f"{PLACE}/ada") == ""
        assert fleet.one.run(asks) == "70001"
        fleet.one.run("umount /mnt")
        assert mount(fleet.one, fleet, f"{PLACE}/ada", without=["nosuid"]) == ""
        assert fleet.one.run(asks) == "0"
    finally:
        fleet.store.run(f"rm {program}")


def test_a_users_program_cannot_speak_nfs_to_the_storage_itself(fleet: Fleet) -> None:
    """Its packets come from the worker's address, from which the storage would believe whose files it asks for."""
    wall = next(one for one in fleet.walls() if one.closed)
    allowed = replace(wall, interface="docker0", allow=("192.168.77.0/24",), deny=())
    asks = f"busybox nc -w 5 {fleet.store.address} %d </dev/null; echo $?"

    def reached(port: int) -> bool:
        return fleet.one.run(f"docker run --rm {IMAGE} /bin/busybox sh -c '/bin/{asks % port}'").endswith("0")

    with fleet.machine(fleet.one) as there:
        try:
            for one, seen in ((allowed, False), (replace(allowed, closed=()), True)):
                change = one.diff(there.observe([one])[one.id])
                assert change is not None
                there.apply(change, lambda line: None)
                assert (reached(22), reached(2049)) == (True, seen)
        finally:
            if (gone := allowed.removal(there.observe([allowed])[allowed.id])) is not None:
                there.apply(gone, lambda line: None)


# -- when something is away ------------------------------------------------------------------------------------------


class Launched:
    """The launcher's part for engine swarm, in this process: the swarm is the machines'."""

    def __init__(self, fleet: Fleet, worker: Guest, engine: str) -> None:
        layout = OwnTable("lab", fleet.local, True)
        for folder in (layout.launcher_dir / "servers", layout.logs):
            folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            door = Address("127.0.0.1", probe.getsockname()[1])
        settings = fleet.settings(worker, engine_socket=engine, door=door, layout=layout)
        self.launch = SwarmLaunch(settings, socket.socket)

    async def failed(self, user: str) -> tuple[str, float]:
        """Why a start fails, and after how long."""
        begin, wanted = time.monotonic(), replace(effective(default_config(), user), memory_limit=None)
        with pytest.raises(StartFailed) as failure:
            await self.launch.start(Request(user, "", None, {}), wanted, lambda line: None, lambda record: None)
        return str(failure.value), time.monotonic() - begin


async def test_a_start_while_the_storage_does_not_answer_fails_in_seconds_and_holds_up_nobody(fleet: Fleet) -> None:
    with fleet.manager() as engine:
        launched = Launched(fleet, fleet.one, engine)
        await launched.launch.open()
        fleet.store.freeze()
        try:
            both = await asyncio.gather(launched.failed("ada"), launched.failed("ben"))
        finally:
            fleet.store.thaw()
        # What was made for them is removed, by a launcher that goes on.
        await asyncio.to_thread(soon, lambda: fleet.leftovers(fleet.one) == "", LEFT_LIMIT_S)
        fleet.store.run("systemctl stop nfs-server")
        try:
            refused, at_once = await launched.failed("ada")
        finally:
            fleet.store.run("systemctl start nfs-server")
        await asyncio.to_thread(soon, lambda: fleet.leftovers(fleet.one) == "", LEFT_LIMIT_S)
        await launched.launch.close()
    for words, seconds in both:
        assert f"the storage at {fleet.store.address}" in words
        assert "Please try again in a minute" in words
        assert seconds < HANG_LIMIT_S
    assert "(connection refused)" in refused
    assert at_once < HANG_LIMIT_S
    assert fleet.ran(fleet.one, "/bin/busybox cat /home/ada/notes") == "from the first"


async def test_where_homes_are_mounted_already_a_start_does_not_wait_with_them(fleet: Fleet) -> None:
    runs = fleet.begin(fleet.one, "echo up; while true; do /bin/busybox sleep 1; done", "ben", BEN)
    await asyncio.to_thread(soon, lambda: runs.said() == "up", 120)
    with fleet.manager() as engine:
        launched = Launched(fleet, fleet.one, engine)
        await launched.launch.open()
        fleet.store.freeze()
        try:
            words, seconds = await launched.failed("ada")
            assert runs.state().startswith("Running")
        finally:
            fleet.store.thaw()
        runs.remove()
        await asyncio.to_thread(soon, lambda: fleet.leftovers(fleet.one) == "", LEFT_LIMIT_S)
        await launched.launch.close()
    assert words.startswith(f"the storage at {fleet.store.address} does not answer, so your home cannot be mounted")
    assert seconds < HANG_LIMIT_S


def test_who_writes_while_the_storage_is_away_waits_and_loses_nothing(fleet: Fleet) -> None:
    writer = fleet.begin(fleet.one, WRITER)
    soon(lambda: "5" in writer.said().splitlines(), 120)
    fleet.store.power_cut()
    before = len(writer.said().splitlines())
    assert fleet.hub.run(f"sleep {AWAY_S:.0f}; echo slept", limit_s=AWAY_S + 60) == "slept"
    during = len(writer.said().splitlines())
    assert during <= before + 2, "it cannot have been told that it is on the disk"
    assert writer.state().startswith("Running")
    fleet.store.start()
    soon(lambda: len(writer.said().splitlines()) > during + 5, 240)  # a server that starts gives clients their time
    said = writer.said().splitlines()
    fleet.docker(fleet.hub, "service", "rm", writer.name)
    soon(lambda: fleet.leftovers(fleet.one) == "", LEFT_LIMIT_S)
    for file in ("lines", "held"):
        lines = fleet.store.run(f"cat {PLACE}/ada/{file}").splitlines()
        assert lines == [str(number) for number in range(1, len(lines) + 1)], file
        assert len(lines) >= len(said)


def test_what_was_saved_on_a_machine_that_dies_is_there_on_the_next(fleet: Fleet) -> None:
    lost = fleet.begin(fleet.two, "echo saved >/home/ada/work; echo up; while true; do /bin/busybox sleep 1; done")
    soon(lambda: lost.said() == "up", 120)
    fleet.two.power_cut()
    try:
        awaited(fleet.hub, "docker node ls --format '{{.Hostname}} {{.Status}}'", "worker2 Down")
        lost.remove()  # as a start does that finds one there
        assert fleet.ran(fleet.one, "/bin/busybox cat /home/ada/work; echo more >>/home/ada/work") == "saved"
    finally:
        fleet.two.start()
    # Its server's container went with it, and what that had mounted.
    awaited(fleet.hub, "docker node ls --format '{{.Hostname}} {{.Status}}'", "worker2 Ready")
    soon(lambda: fleet.leftovers(fleet.two) == "", LEFT_LIMIT_S)
    assert fleet.ran(fleet.two, "/bin/busybox cat /home/ada/work") == "saved\nmore"


# -- an export that somebody else has made, mounted on all machines ----------------------------------------------------

USUAL, ROOT = "rw,root_squash", "rw,no_root_squash"


@pytest.mark.parametrize(
    ("hub", "one", "two", "words"),
    [
        (ROOT, USUAL, USUAL, "/srv/mounted: user id 99999 writes on worker1 and worker2, and reads on each"),
        (USUAL, USUAL, USUAL, "hub1: /srv/mounted takes no directory from root (Permission denied)"),
        ("ro,no_root_squash", USUAL, USUAL, "hub1: /srv/mounted is mounted read-only, and homes are made there"),
        (ROOT, "ro,root_squash", USUAL, "worker1: /srv/mounted is mounted read-only"),
        (ROOT, USUAL, "rw,all_squash", "worker2: user id 99999 cannot write there in a directory of its own"),
    ],
)
def test_what_its_server_makes_of_root_and_of_ids_is_found_by_trying(
    fleet: Fleet, hub: str, one: str, two: str, words: str
) -> None:
    """Of what mounts say, nothing tells these apart."""
    place = "/srv/mounted"
    given = {fleet.hub: hub, fleet.one: one, fleet.two: two}
    homes = {"homes": {"path": place, "share": "mounted"}}
    roles = {"hub1": ["hub"], "worker1": ["worker"], "worker2": ["worker"]}
    machines = {name: {"ssh": name, "roles": its} for name, its in roles.items()}
    config = Config.model_validate({"hub": "lab", "engine": "swarm", "machines": machines, "storage": homes})
    fleet.store.run(f"mkdir -p -m 755 {place}")
    try:
        for guest, options in given.items():
            fleet.store.run(f"exportfs -o {options},sync,no_subtree_check,fsid=77 {guest.address}:{place}")
            usual = f"addr={fleet.store.address},vers=4.2,proto=tcp,hard"
            guest.run(f"mkdir -p {place} && mount -i -t nfs -o {usual} :{place} {place}", limit_s=120)
        with ExitStack() as reached:
            there = {guest.name: reached.enter_context(fleet.machine(guest)) for guest in given}
            (found,) = homeschecks.tried(config, there)
        assert words in found.text
        assert (found.level == "ok") == ("reads on each" in words), found
        assert fleet.store.run(f"ls -A {place}") == ""
    finally:
        for guest in given:
            guest.run(f"! mountpoint -q {place} || umount -l {place}")
            fleet.store.run(f"exportfs -u {guest.address}:{place}")


def test_an_export_that_is_no_longer_wanted_is_gone_and_its_server_stopped(fleet: Fleet) -> None:
    change = fleet.remove(fleet.export)
    assert change is not None
    assert "can neither read nor save" in change.impact
    with fleet.machine(fleet.store) as there:
        assert there.observe([fleet.export])[fleet.export.id] is None
    assert fleet.store.run("ss -Hltun | awk '{print $5}' | sed 's/.*://' | sort -un") == "22"
    assert fleet.store.run(f"ls {PLACE}").split() == ["ada", "ben"]
