"""Users' servers as services of a swarm: they come up on several machines, are confined, and are found again."""

from __future__ import annotations

import asyncio
import os
import stat
from collections import Counter

from containers import until
from swarms import House

import needs
from hubfleet.config import Mount
from hubfleet.engines.swarm.launch import SwarmLaunch
from hubfleet.engines.uids import FIRST
from hubfleet.launcher.base import Record, Running, Stopped
from hubfleet.units import Bytes, Cores

pytestmark = needs.machines()


async def test_a_server_comes_up_answers_and_is_stopped(house: House, launch: SwarmLaunch) -> None:
    guest = await house.start(launch, "ada")
    assert house.said[:2] == ["Preparing the home directory", "Making the service"]
    assert house.said[-1] == "The server is up"
    assert await guest.status() == 200
    assert await guest.status(token="another") == 403
    assert await launch.poll(guest.record) == Running()
    assert await guest.run("print(6 * 7)") == "42\n"
    ended: list[Record] = []
    launch.watch(guest.record, ended.append)
    await launch.stop(guest.record, grace=10)
    assert house.services() == house.secrets() == []
    assert isinstance(await launch.poll(guest.record), Stopped)
    await until(lambda: house.left() == [])
    await launch.stop(guest.record, grace=10)  # what is gone is success


async def test_its_user_has_a_name_a_home_and_what_the_image_has(house: House, launch: SwarmLaunch) -> None:
    guest = await house.start(launch, "ada", environment={"COURSE": "physics"})
    code = "import getpass, grp, os, pwd; print(getpass.getuser(), pwd.getpwuid(os.getuid()).pw_dir, os.getcwd(),"
    code += " grp.getgrgid(os.getgid()).gr_name, pwd.getpwnam('root').pw_uid, os.environ['COURSE'],"
    code += " os.environ.get('SSL_CERT_FILE'), os.uname().nodename)"
    told = f"ada /home/ada /home/ada ada 0 physics /etc/ssl/certs/ca-certificates.crt {house.hub}\n"
    assert await guest.run(code) == told


async def test_a_home_stays_its_users_on_whatever_machine(house: House, launch: SwarmLaunch) -> None:
    first = await house.start(launch, "ada")
    await first.run("open('kept', 'w').write('words')")
    before = first.machine.name
    await launch.stop(first.record, grace=10)
    elsewhere = await house.open(placement=(*house.settings.placement, f"node.hostname!={before}"))
    second = await house.start(elsewhere, "ada")
    assert second.machine.name != before
    assert await second.run("print(open('kept').read())") == "words\n"
    found = (second.home / "kept").stat()
    assert found.st_uid == found.st_gid == second.uid >= FIRST
    assert stat.S_IMODE(second.home.stat().st_mode) == 0o700


async def test_it_is_confined(house: House, launch: SwarmLaunch) -> None:
    limits = {"memory_limit": Bytes(400 << 20), "memory_guarantee": Bytes(200 << 20), "processes": 300}
    guest = await house.start(launch, "ada", **limits, cpu_limit=Cores(0.5), cpu_guarantee=Cores(0.25))
    host = guest.described()["HostConfig"]
    assert (host["Memory"], host["PidsLimit"], host["NanoCpus"]) == (400 << 20, 300, 500_000_000)
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False)
    resources = guest.task()["Spec"]["Resources"]["Reservations"]
    assert resources == {"MemoryBytes": 200 << 20, "NanoCPUs": 250_000_000}
    names = ("NoNewPrivs", "CapEff", "CapBnd", "Uid")
    told = await guest.run(
        "lines = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())\n"
        f"for name in {names}: print(lines[name].split()[0])"
    )
    nothing = "0" * 16
    assert told.split() == ["1", nothing, nothing, str(guest.uid)]
    for place in ("/tmp", "/var/tmp", "/run/lock", f"/run/user/{guest.uid}", "/dev/shm"):
        assert await guest.run(f"open('{place}/mine', 'w').write('x')") == ""
    program = "import os; open('/tmp/run', 'w').write('#!/bin/sh\\necho ran\\n'); os.chmod('/tmp/run', 0o755)"
    assert await guest.run(f"{program}; print(os.popen('/tmp/run').read())") == "ran\n\n"
    for place in ("/srv/careless", "/etc", "/usr/local"):
        assert "Read-only file system" in await guest.run(f"open('{place}/mine', 'w')")


async def test_more_cores_than_a_machine_has_mean_all(house: House, launch: SwarmLaunch) -> None:
    guest = await house.start(launch, "ada", cpu_limit=Cores(1000))
    assert guest.described()["HostConfig"]["NanoCpus"] == (os.cpu_count() or 1) * 10**9


async def test_mounts_are_in_sight(house: House, launch: SwarmLaunch) -> None:
    data = house.layout.state / "data"
    data.mkdir()
    data.chmod(0o777)
    (data / "text").write_text("shared")
    mounts = (Mount(str(data), "/data", "ro"), Mount(str(data), "/home/ada/work", "rw"))
    guest = await house.start(launch, "ada", mounts=mounts)
    assert await guest.run("print(open('/data/text').read())") == "shared\n"
    assert "Read-only file system" in await guest.run("open('/data/new', 'w')")
    assert await guest.run("open('/home/ada/work/new', 'w').write('x')") == ""
    assert (data / "new").read_text() == "x"


async def test_no_secret_can_be_read_where_the_engine_tells(house: House, launch: SwarmLaunch) -> None:
    guest = await house.start(launch, "ada")
    hub = house.fleet.hub
    told = [
        *(hub.docker(kind, "inspect", *found) for kind, found in _all(house).items()),
        hub.docker("inspect", guest.record.handle["task"]),
        guest.machine.docker("inspect", guest.container),
        guest.machine.run("ps -eww -o args"),
        str(guest.record),
        house.log("ada"),
    ]
    assert len(told) == 8
    assert [text for text in told if guest.token in text or "canary" in text] == []
    # Its own user has it, and only that one.
    assert guest.shell("stat -c '%a %u' /run/secrets/hubfleet") == f"400 {guest.uid}"


def _all(house: House) -> dict[str, list[str]]:
    return {kind: house._listed(kind) for kind in ("service", "secret", "config")}


async def test_what_a_server_prints_is_in_its_log(house: House, launch: SwarmLaunch) -> None:
    guest = await house.start(launch, "ada")
    assert stat.S_IMODE(os.stat(guest.record.log).st_mode) == 0o600
    await guest.run("import os; open(f'/proc/{os.getppid()}/fd/2', 'w').write('words of grün\\n')")
    await until(lambda: "words of grün\n" in house.log("ada"))
    await launch.stop(guest.record, grace=10)
    text = house.log("ada")
    assert text.startswith("--- server started ")
    assert text.count("words of grün\n") == 1


async def test_twenty_at_once_are_spread_over_the_machines(house: House, launch: SwarmLaunch) -> None:
    names = [f"user{number}" for number in range(20)]
    guests = await asyncio.gather(*(house.start(launch, name) for name in names))
    assert [await guest.status() for guest in guests] == [200] * 20
    assert len({guest.record.url for guest in guests}) == 20
    found = Counter(line.split()[0] for line in house.containers())
    assert sorted(found.values()) == [6, 7, 7]
    await asyncio.gather(*(launch.stop(guest.record, grace=10) for guest in guests))
    assert house.services() == house.secrets() == []
    await until(lambda: house.left() == [])


async def test_the_next_launcher_finds_it_again(house: House) -> None:
    first = await house.open()
    guest = await house.start(first, "ada")
    second = await house.open()
    assert await second.poll(guest.record) == Running()
    assert house.secrets(), "it is not swept away"
    ended: list[Record] = []
    second.watch(guest.record, ended.append)
    guest.machine.docker("kill", guest.container)
    await until(lambda: ended)
    state = await second.poll(guest.record)
    assert isinstance(state, Stopped)
    assert (state.code, "SIGKILL" in state.why) == (137, True)
    await second.stop(guest.record, grace=0)
    assert house.services() == house.secrets() == []
