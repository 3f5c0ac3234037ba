"""What goes wrong with a swarm is told within seconds and in its own words, and loses or doubles no server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

import pytest
from aiohttp import ClientConnectionError
from containers import until
from machines import Machine
from swarms import LAUNCHER, Fleet, Guest, House

import needs
from hubfleet.config import Mount
from hubfleet.engines.swarm import specification
from hubfleet.engines.swarm.launch import SwarmLaunch
from hubfleet.engines.swarm.specification import Address, HomesPlace
from hubfleet.launcher.base import Record, Running, StartFailed, Stopped, Unknown
from hubfleet.units import Bytes
from waiting import soon

pytestmark = needs.machines()

PROBE = 7447
SECONDS = 10.0
"""What "within seconds" means on a machine that does much else."""


async def failure(house: House, launch: SwarmLaunch, user: str = "ada", **changed: object) -> str:
    """What the user is told of a start that fails, and soon; nothing of it is left, and the log says it too."""
    begun = time.monotonic()
    with pytest.raises(StartFailed) as told:
        await house.start(launch, user, **changed)
    assert time.monotonic() - begun < SECONDS
    assert str(told.value) in house.log(user)
    assert house.services() == house.secrets() == []
    await until(lambda: house.left() == [])
    return str(told.value)


async def test_a_mount_that_a_machine_does_not_have(house: House, launch: SwarmLaunch) -> None:
    told = await failure(house, launch, mounts=(Mount("/nowhere", "/data", "ro"),))
    assert "could not run it: invalid mount config" in told
    assert "/nowhere" in told


async def test_an_image_that_a_machine_does_not_have(house: House) -> None:
    launch = await house.open(image="sha256:" + "0" * 64)
    assert "could not run it: No such image: sha256:000" in await failure(house, launch)


async def test_no_machine_has_room(house: House, launch: SwarmLaunch) -> None:
    told = await failure(house, launch, memory_limit=None, memory_guarantee=Bytes(10**15))
    assert "no suitable node (insufficient resources on 3 nodes)" in told
    assert "Please try again later, or choose a smaller profile" in told


async def test_no_machine_may_have_it(house: House) -> None:
    launch = await house.open(placement=("node.labels.none==yes",))
    told = await failure(house, launch)
    assert "no suitable node (scheduling constraints not satisfied on 3 nodes)" in told
    assert "hubfleet status" in told


async def test_a_machine_that_is_drained_gets_nobody_and_keeps_who_is_there(house: House, launch: SwarmLaunch) -> None:
    ada = await house.start(launch, "ada")
    there = ada.machine
    with house.drained(there):
        others = await asyncio.gather(*(house.start(launch, f"user{number}") for number in range(4)))
        assert there.name not in {guest.machine.name for guest in others}
        assert await ada.run("print(6 * 7)") == "42\n", "who is there goes on"
        assert await launch.poll(ada.record) == Running()
    assert await launch.poll(ada.record) == Running()
    await asyncio.gather(*(launch.stop(guest.record, grace=10) for guest in others))
    again = await asyncio.gather(*(house.start(launch, f"user{number}") for number in range(4)))
    assert there.name in {guest.machine.name for guest in again}, "it gets servers again"


async def test_what_one_hub_has_drained_another_one_starts_on(house: House, launch: SwarmLaunch) -> None:
    only = f"node.hostname=={house.fleet.machines[1].name}"
    placement = (*house.settings.placement, only)
    other = House(house.fleet)
    other.tokens = house.tokens  # one stand-in for both hubs
    try:
        launch = await house.open(placement=placement)
        theirs = await other.open(placement=placement, door=Address(LAUNCHER, PROBE))
        with house.drained(house.fleet.machines[1]):
            guest = await other.start(theirs, "ben")
            assert guest.machine.name == house.fleet.machines[1].name
            told = await failure(house, launch)
            assert "scheduling constraints not satisfied" in told
            assert f"{guest.machine.name} is drained, so no new servers come there" in told
            assert await theirs.poll(guest.record) == Running()
    finally:
        await other.close()
        other.remove()


async def test_all_machines_drained_is_told_at_once(house: House, launch: SwarmLaunch) -> None:
    with house.drained(*house.fleet.machines):
        told = await failure(house, launch)
    assert told.startswith("no machine takes new servers now: hub1, worker1 and worker2 are drained. An administrator")


async def test_a_machine_that_is_drained_while_a_server_comes_there_does_not_get_it(
    house: House, launch: SwarmLaunch
) -> None:
    """Nor is there anything of it later."""
    with contextlib.ExitStack() as stack:
        first: list[Machine] = []

        def progress(words: str) -> None:
            house.said.append(words)
            if not first and (words.startswith("Starting the server on ") or words == "Waiting for the server"):
                (line,) = house.containers() or [""]
                name = words.rpartition(" on ")[2] if " on " in words else line.partition(" ")[0]
                first.append(house.fleet.machine(name))
                stack.enter_context(house.drained(first[0]))

        record = await launch.start(house.request("ada"), house.wanted(), progress, house._spawned)
        guest = Guest(house, record, "")
        assert first, "the test was too late"
        assert guest.machine.name != first[0].name
        assert f"{first[0].name} takes no more servers since just now; looking for another one" in house.said
        await until(lambda: [line.split()[0] for line in house.containers()] == [guest.machine.name])
        assert len(house.services()) == len(house.secrets()) == 1
        assert await launch.poll(record) == Running()


async def test_room_that_another_one_leaves_is_waited_for(house: House, launch: SwarmLaunch) -> None:
    total = sum(node["Description"]["Resources"]["MemoryBytes"] for node in _nodes(house.fleet))
    most = Bytes(int(total / 3 * 0.6))
    one, two, three = await asyncio.gather(
        *(house.start(launch, name, memory_limit=None, memory_guarantee=most) for name in ("ada", "ben", "cyd"))
    )
    _, four = await asyncio.gather(
        launch.stop(one.record, grace=10), house.start(launch, "dan", memory_limit=None, memory_guarantee=most)
    )
    assert await four.status() == 200
    assert {await launch.poll(guest.record) for guest in (two, three, four)} == {Running()}


def _nodes(fleet: Fleet) -> list[dict[str, object]]:
    return list(json.loads(fleet.hub.docker("node", "inspect", *(machine.name for machine in fleet.machines))))


async def test_more_memory_than_its_limit_at_the_start(house: House, launch: SwarmLaunch) -> None:
    told = await failure(house, launch, memory_limit=Bytes(24 << 20))
    assert "signal SIGKILL, as the system does when a server goes over its memory limit" in told


async def test_what_it_said_last_is_told(house: House) -> None:
    launch = await house.open(python="/nowhere")
    told = await failure(house, launch)
    assert "it exited with code 127. It said last: " in told
    assert "/nowhere/bin/python" in told
    assert "/nowhere/bin/python" in house.log("ada").splitlines()[1]


async def test_a_home_that_is_not_the_storages(house: House, launch: SwarmLaunch) -> None:
    """As on a machine where the storage is not mounted: something else is at its place."""
    machine = house.fleet.machines[1]
    homes = house.layout.homes
    guest = await house.start(launch, "ada")
    await launch.stop(guest.record, grace=10)
    machine.run(f"mount -t tmpfs none {homes} && mkdir -p {homes}/ada && chown {guest.uid}:{guest.uid} {homes}/ada")
    try:
        there = await house.open(placement=(f"node.hostname=={machine.name}",))
        told = await failure(house, there)
        assert "/home/ada is another directory on its machine than on the hub's: is the storage mounted there?" in told
    finally:
        machine.run(f"umount {homes}")


async def test_what_must_be_mounted_is_looked_at_where_the_server_is(house: House) -> None:
    """The hub's machine has nothing of it."""
    machine, place = house.fleet.machines[1], f"/srv/{house.hub}"
    machine.run(f"mkdir -p {place}/all && mount -t tmpfs none {place} && mkdir -m 777 {place}/all")
    there = await house.open(placement=(f"node.hostname=={machine.name}",))
    wanted = {"mounts": (Mount(f"{place}/all", "/work", "rw"),), "must_be_mounted": (place,)}
    guest = await house.start(there, "ada", **wanted)
    await guest.run("open('/work/new', 'w').write('words')")
    assert machine.run(f"cat {place}/all/new") == "words"
    await there.stop(guest.record, grace=10)
    machine.run(f"umount {place}")
    told = await failure(house, there, **wanted)
    assert told.startswith(
        f"{machine.name}: {place} is not mounted there, and files would be on the machine's own disk"
    )
    assert machine.run(f"ls {place}/all") == ""


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/", "leads to the machine's own files"),
        ("/run", "machine's own files"),
        ("/etc", "leads to another directory"),
    ],
)
async def test_a_link_does_not_show_what_is_the_machines(house: House, target: str, words: str) -> None:
    machine, place = house.fleet.machines[1], f"/srv/{house.hub}"
    machine.run(f"mkdir {place} && ln -s {target} {place}/ada")
    there = await house.open(placement=(f"node.hostname=={machine.name}",))
    told = await failure(house, there, mounts=(Mount(f"{place}/ada", "/work", "ro"),))
    assert told.startswith(f"{machine.name}: {place}/ada ")
    assert words in told
    project = Mount(f"{place}/ada", "/home/ada/projects/Waves", "ro")
    guest = await house.start(there, "ada", projects=(project,), projects_at="/home/ada/projects")
    assert guest.shell("ls -A /home/ada/projects") == ""
    assert any(line.startswith("Left out: Waves: ") and words in line for line in house.said)


async def test_a_project_that_a_machine_does_not_have_is_left_out(house: House) -> None:
    machine, place = house.fleet.machines[1], f"/srv/{house.hub}"
    machine.run(f"mkdir -p {place}/two && echo words > {place}/two/text")
    there = await house.open(placement=(f"node.hostname=={machine.name}",))
    folder = "/home/ada/projects"
    projects = tuple(Mount(f"{place}/{name}", f"{folder}/{name}", "ro") for name in ("one", "two", "three"))
    guest = await house.start(there, "ada", projects=projects, projects_at=folder)
    assert guest.shell(f"cd {folder}; grep -r .") == "two/text:words"
    missing = "is missing on worker1; an administrator has to create it"
    assert [line for line in house.said if line.startswith("Left out: ")] == [
        f"Left out: {name}: {place}/{name} {missing}" for name in ("one", "three")
    ]
    assert len(house.services()) == len(house.secrets()) == 1
    assert await guest.status() == 200


async def test_a_server_that_ends_is_told_with_its_reason(house: House, launch: SwarmLaunch) -> None:
    guests = [await house.start(launch, name) for name in ("ada", "ben")]
    ended: list[Record] = []
    for guest in guests:
        launch.watch(guest.record, ended.append)
    # The first process is one that passes signals on.
    guests[0].shell("kill -KILL $(pgrep -f jupyterhub-singleuser | grep -v '^1$' | head -1)")
    guests[1].shell("kill -TERM $(pgrep -f jupyterhub-singleuser | grep -v '^1$' | head -1)")
    await until(lambda: len(ended) == 2, SECONDS)
    killed, done = [await launch.poll(guest.record) for guest in guests]
    assert killed == Stopped(
        137, "it was ended by signal SIGKILL, as the system does when a server goes over its memory limit"
    )
    assert isinstance(done, Stopped)
    assert f"--- {killed.why}\n" in house.log("ada")
    assert f"--- {done.why}\n" in house.log("ben")


async def test_a_service_that_somebody_removes_is_told(house: House, launch: SwarmLaunch) -> None:
    guest = await house.start(launch, "ada")
    ended: list[Record] = []
    launch.watch(guest.record, ended.append)
    house.fleet.hub.docker("service", "rm", guest.record.handle["service"])
    await until(lambda: ended, SECONDS)
    told = Stopped(None, "its service was removed by somebody else, so its exit code is not known")
    assert await launch.poll(guest.record) == told
    await launch.stop(guest.record, grace=0)
    assert house.secrets() == []


async def test_an_earlier_server_of_nobody_is_replaced(house: House, launch: SwarmLaunch) -> None:
    """A launcher that was killed between making a service and noting it."""
    guest = await house.start(launch, "ada")
    again = await house.start(launch, "ada")
    assert guest.record.handle["service"] != again.record.handle["service"]
    assert isinstance(await launch.poll(guest.record), Stopped)
    assert await again.status() == 200
    await until(lambda: len(house.containers()) == 1)
    # What stops the first now leaves the second alone.
    await launch.stop(guest.record, grace=0)
    assert await launch.poll(again.record) == Running()


async def test_a_second_task_of_a_service_gets_in_nowhere(house: House, launch: SwarmLaunch) -> None:
    """Somebody makes the service two: the key to the launcher's door opens it once."""
    guest = await house.start(launch, "ada")
    first, service = guest.container, guest.record.handle["service"]
    house.fleet.hub.docker("service", "scale", "--detach", f"{service}=2")
    words = ["service", "ps", "--filter", "desired-state=shutdown", "--format", "{{.CurrentState}}", service]
    await until(lambda: "Failed" in house.fleet.hub.docker(*words), 60)
    running = ["ps", "--quiet", "--no-trunc", "--filter", f"label=hubfleet.hub={house.hub}"]
    assert [one for machine in house.fleet.machines for one in machine.docker(*running).split()] == [first]
    assert await launch.poll(guest.record) == Running()
    assert await guest.status() == 200
    await launch.stop(guest.record, grace=10)
    await until(lambda: house.left() == [])


async def test_docker_is_restarted_on_a_machine(house: House, launch: SwarmLaunch) -> None:
    """A swarm's engine ends its containers with itself. Who was there is told, and starts anew."""
    one, two = await asyncio.gather(house.start(launch, "ada"), house.start(launch, "ben"))
    assert one.machine.name != two.machine.name
    theirs, ours = (one, two) if one.machine is not house.fleet.hub else (two, one)
    ended: list[Record] = []
    for guest in (one, two):
        launch.watch(guest.record, ended.append)
    theirs.machine.run("systemctl restart docker")
    await until(lambda: ended, 60)
    assert ended == [theirs.record]
    told = await launch.poll(theirs.record)
    assert isinstance(told, Stopped)
    assert f"--- {told.why}\n" in house.log(theirs.record.user)
    assert await ours.status() == 200
    house.fleet.await_all()
    again = await house.start(launch, theirs.record.user)
    assert await again.status() == 200
    assert await launch.poll(ours.record) == Running()


async def test_homes_that_are_not_kept_go_with_the_server(house: House) -> None:
    launch = await house.open(homes=HomesPlace("none", "", "", ""), keeper=None)
    look = "import os; home = os.path.expanduser('~'); print(home, 'kept' in os.listdir(home))"
    guest = await house.start(launch, "ada")
    assert await guest.run(look + "; open(home + '/kept', 'w').close()") == "/home/ada False\n"
    assert (await guest.run(look)).split()[1] == "True"
    await launch.stop(guest.record, grace=10)
    again = await house.start(launch, "ada")
    assert (await again.run(look)).split()[1] == "False"


async def test_what_was_kept_for_no_service_is_swept_away(house: House, launch: SwarmLaunch) -> None:
    guest = await house.start(launch, "ada")
    hub, label = house.fleet.hub, f"hubfleet.hub={house.hub}"
    hub.docker("secret", "create", "--label", label, f"left-{house.hub}", "-", text="old")
    hub.docker("config", "create", "--label", label, f"left-{house.hub}", "-", text="old")
    await house.open()
    assert len(house.secrets()) == 1
    assert len(house._listed("config")) == 2
    assert await guest.status() == 200


async def test_what_somebody_has_removed_is_made_again(house: House, launch: SwarmLaunch) -> None:
    guest = await house.start(launch, "ada")
    await launch.stop(guest.record, grace=10)
    house.fleet.hub.docker("config", "rm", *house._listed("config"))
    again = await house.start(launch, "ada")
    assert again.shell("id -un") == "ada"


async def test_a_machine_that_dies_ends_its_servers_and_another_one_has_the_next(
    house: House, away: SwarmLaunch
) -> None:
    one, two = await asyncio.gather(house.start(away, "ada"), house.start(away, "ben"))
    assert one.machine.name != two.machine.name
    ended: list[Record] = []
    for guest in (one, two):
        away.watch(guest.record, ended.append)
    lost = one.machine
    lost.cut_power()
    try:
        while house.fleet.node(lost) == "ready":
            assert await away.poll(one.record) == Running(), "the swarm has not given it up"
            await asyncio.sleep(0.2)
        known = time.monotonic()
        await until(lambda: ended, SECONDS)
        assert time.monotonic() - known < SECONDS
        assert ended == [one.record]
        told = await away.poll(one.record)
        assert told == Stopped(None, f"{lost.name} is lost (heartbeat failure), and the server with it")
        assert f"--- {told.why}\n" in house.log("ada")
        await away.stop(one.record, grace=0)  # as the launcher does
        again = await house.start(away, "ada")
        assert again.machine.name == two.machine.name
        assert await again.status() == 200
        assert await away.poll(two.record) == Running()
    finally:
        lost.start()
        house.fleet.await_all()
    # What was on it does not come back beside the new one.
    await until(lambda: len(house.containers()) == 2, 60)
    assert await away.poll(again.record) == Running()


async def test_a_machine_that_is_away_for_a_moment_keeps_its_servers(house: House, away: SwarmLaunch) -> None:
    guest = await house.start(away, "ada")
    ended: list[Record] = []
    away.watch(guest.record, ended.append)
    kernel_says = await guest.run("print('before')")
    house.fleet.engine.docker("pause", guest.machine.container)
    try:
        end = time.monotonic() + 6
        while time.monotonic() < end:
            assert await away.poll(guest.record) == Running()
            await asyncio.sleep(0.2)
    finally:
        house.fleet.engine.docker("unpause", guest.machine.container)
    assert kernel_says == "before\n"
    assert await guest.run("print('after')") == "after\n"
    assert ended == []


async def test_a_machine_that_is_away_for_long_comes_back_without_them(house: House, away: SwarmLaunch) -> None:
    guest = await house.start(away, "ada")
    ended: list[Record] = []
    away.watch(guest.record, ended.append)
    machine, container = guest.machine, guest.container
    house.fleet.engine.docker("pause", machine.container)
    try:
        await until(lambda: ended, 60)
        assert isinstance(await away.poll(guest.record), Stopped)
    finally:
        house.fleet.engine.docker("unpause", machine.container)
    house.fleet.await_all()
    soon(lambda: container[:12] not in machine.docker("ps", "--quiet"), 60)
    end = asyncio.get_running_loop().time() + 60  # its manager had it for running again meanwhile
    while not isinstance(await away.poll(guest.record), Stopped):
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.2)


async def test_stopping_waits_for_a_machine_that_does_not_answer(house: House, away: SwarmLaunch) -> None:
    guest = await house.start(away, "ada")
    machine = guest.machine
    house.fleet.engine.docker("pause", machine.container)
    try:
        stopping = asyncio.create_task(away.stop(guest.record, grace=10))
        starting = asyncio.create_task(house.start(away, "ada"))
        while house.fleet.node(machine) == "ready":
            assert not stopping.done()
            assert not starting.done()
            await asyncio.sleep(0.2)
        await stopping
        again = await starting
        assert again.machine.name != machine.name
    finally:
        house.fleet.engine.docker("unpause", machine.container)
    house.fleet.await_all()
    await until(lambda: len(house.containers()) == 1, 60)


async def test_a_manager_that_hangs_is_unknown_and_loses_nothing(house: House, away: SwarmLaunch) -> None:
    guest = await house.start(away, "ada")
    ended: list[Record] = []
    away.watch(guest.record, ended.append)
    hub = house.fleet.hub
    hub.run("pkill -STOP -x dockerd")
    try:
        assert isinstance(await away.poll(guest.record), Unknown)
        starting = asyncio.create_task(house.start(away, "ben"))
        await until(lambda: house.said[-1] == "Making the service")
    finally:
        hub.run("pkill -CONT -x dockerd")
    other = await starting
    assert await away.poll(guest.record) == await away.poll(other.record) == Running()
    assert len(house.services()) == 2
    assert ended == []


async def until_reached(guest: Guest) -> None:
    """Where servers of other machines are, an engine that was restarted hears from these."""
    deadline = time.monotonic() + 60
    while True:
        try:
            assert await guest.status() == 200
            return
        except ClientConnectionError:
            assert time.monotonic() < deadline
        await asyncio.sleep(0.5)


async def test_a_manager_that_is_restarted_loses_no_server_of_another_machine(house: House, away: SwarmLaunch) -> None:
    guest = await house.start(away, "ada")
    ended: list[Record] = []
    away.watch(guest.record, ended.append)
    hub = house.fleet.hub
    hub.kill("dockerd")
    soon(lambda: hub.docker("info", "--format", "{{.Swarm.LocalNodeState}}", check=False) == "active", 60)
    states = set()
    while house.fleet.node(guest.machine) != "ready":
        states.add(type(await away.poll(guest.record)))
        await asyncio.sleep(0.2)
    assert states <= {Running, Unknown}
    assert ended == []
    # The launcher's own container, which is on that machine, has been started anew too.
    house.network = house.fleet.network()
    after = await house.open()
    assert await after.poll(guest.record) == Running()
    async with house.hub_answers():
        other = await house.start(after, "ben")
        assert await other.status() == 200
        await until_reached(guest)
    await after.stop(guest.record, grace=10)
    assert isinstance(await after.poll(guest.record), Stopped)


async def test_a_launcher_that_is_killed_in_the_middle_leaves_what_the_next_one_finds(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await house.open()

    async def undo(record: Record) -> None:
        """A process that is killed undoes nothing."""

    monkeypatch.setattr(first, "_undo", undo)
    starting = asyncio.create_task(house.start(first, "ada"))
    await until(lambda: "ada" in house.records and house.services())
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert house.services()
    second = await house.open()
    await second.stop(house.records["ada"], grace=0)
    assert house.services() == house.secrets() == []
    await until(lambda: house.left() == [])


async def test_no_server_is_entered_before_the_rules_are_in_force(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Address(LAUNCHER, PROBE)
    monkeypatch.setattr(specification, "ENTER_LIMIT_S", 2.0)
    launch = await house.open(probe=probe)
    told = await failure(house, launch)
    assert "the rules that keep servers apart are not in force on this machine" in told
    monkeypatch.undo()
    starting = asyncio.create_task(house.start(launch, "ada"))
    await until(lambda: house.said[-1] == "Waiting for the server")
    with house.fleet.dropped(PROBE):
        assert await (await starting).status() == 200
