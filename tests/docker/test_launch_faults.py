"""What goes wrong with containers, and what people and the launcher are told of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from subprocess import PIPE

import dockerd
import pytest
import pytest_asyncio
from containers import Guest, House, keeping, until
from images import PYTHON

import needs
from hubfleet import singleuser
from hubfleet.config import Mount
from hubfleet.engines.docker.launch import AGAIN_S, DockerLaunch
from hubfleet.engines.places import Place
from hubfleet.launcher.base import Record, Running, StartFailed, Stopped, Unknown
from hubfleet.names import short_id
from hubfleet.units import Bytes
from waiting import soon

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.timeout(900),  # the first one makes the image
]
SOON_S = 20.0
"""Within this time a failure has to be told. A server that comes up takes a third of it here."""


async def fails(house: House, launch: DockerLaunch, match: str, **changed: object) -> str:
    """A start that has to fail soon, with these words, and leave nothing."""
    with pytest.raises(StartFailed, match=match) as failure:
        await asyncio.wait_for(house.start(launch, "ada", **changed), SOON_S)
    assert house.left() == []
    return str(failure.value)


# -- starts that fail -------------------------------------------------------------------------------------------------


async def test_the_image_is_missing(house: House) -> None:
    launch = house.launch(image="hubfleet-test/none:1")
    said = "the image hubfleet-test/none:1 is not on this machine; an administrator has to run: hubfleet up"
    assert await fails(house, launch, "image") == said
    await launch.close()


async def test_the_network_is_missing(house: House) -> None:
    launch = house.launch(network="none-such")
    await fails(house, launch, "the Docker engine refuses it: network none-such not found")
    await launch.close()


async def test_a_mount_is_missing(house: House, launch: DockerLaunch) -> None:
    mounts = (Mount("/srv/none-such", "/data", "ro"),)
    said = "/srv/none-such is missing on this machine; an administrator has to create it"
    assert await fails(house, launch, "missing", mounts=mounts) == said


async def test_a_mount_leads_to_what_users_must_not_see(house: House, launch: DockerLaunch) -> None:
    link = house.layout.base / "link"
    link.symlink_to("/etc")
    await fails(house, launch, "leads to /etc, which users must not see", mounts=(Mount(str(link), "/data", "ro"),))


async def test_a_mount_becomes_another_place_in_the_last_moment(
    house: House, launch: DockerLaunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, other = house.layout.base / "data", house.layout.base / "other"
    data.mkdir()
    other.mkdir()
    looked = Place.of

    def then_a_link(source: str | Path, target: str | Path, writable: bool, root: str = "") -> Place:
        place = looked(source, target, writable, root)
        if source == str(data):
            data.rmdir()
            data.symlink_to(other)
        return place

    monkeypatch.setattr(Place, "of", then_a_link)
    await fails(house, launch, "has become another place", mounts=(Mount(str(data), "/data", "ro"),))


async def test_the_memory_is_too_small(house: House, launch: DockerLaunch) -> None:
    said = "the server needs more than its memory limit of 30M"
    assert await fails(house, launch, "memory", memory_limit=Bytes(30 << 20)) == said


async def test_the_server_exits_at_once(house: House) -> None:
    skeleton = house.layout.base / "skeleton"
    (skeleton / ".jupyter").mkdir(parents=True)
    (skeleton / ".jupyter" / "jupyter_server_config.py").write_text("import sys; sys.exit('bad words')")
    launch = house.launch(keeper=keeping(house.layout.homes, skeleton))
    assert await fails(house, launch, "exited") == "it exited with code 1. It said last: bad words"
    assert "bad words\n" in house.log("ada")
    await launch.close()


async def test_the_environment_is_not_in_the_image(house: House) -> None:
    launch = house.launch(python="/opt/none")
    await fails(house, launch, "/opt/none/bin/python")
    await launch.close()


async def test_the_homes_disk_is_not_there(house: House, launch: DockerLaunch) -> None:
    (house.layout.homes / ".hubfleet-homes").unlink()
    await fails(house, launch, "is not as hubfleet left it: is its disk mounted")


async def test_the_engine_is_down(house: House) -> None:
    launch = house.launch(engine_socket="/nowhere/docker.sock")
    said = await fails(house, launch, "the Docker engine is down")
    assert said == "the Docker engine is down. Please try again in a minute"
    await launch.close()


async def test_the_record_cannot_be_kept(house: House, launch: DockerLaunch) -> None:
    def full(record: Record) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StartFailed, match=r"the hub's disk does not take its record \(No space left on device\)"):
        await launch.start(house.request("ada"), house.wanted(), house.said.append, full)
    assert house.left() == []


async def test_a_start_that_is_given_up_leaves_nothing(house: House, launch: DockerLaunch) -> None:
    starting = asyncio.create_task(house.start(launch, "ada"))
    await until(lambda: "Starting the server" in house.said)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert house.left() == []


# -- servers that end -------------------------------------------------------------------------------------------------


async def test_a_server_over_its_memory_limit(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada", memory_limit=Bytes(200 << 20))
    ended = watched(launch, guest)
    # The server itself, not a kernel: with memory that it has to keep, all its processes have to go.
    guest.shell("head -c 300M /dev/zero > /tmp/filled")
    await until(lambda: ended)
    said = "it went over its memory limit and the system ended it"
    assert await launch.poll(guest.record) == Stopped(128 + signal.SIGKILL, said)


async def test_a_cell_over_the_memory_limit_leaves_the_server(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada", memory_limit=Bytes(300 << 20))
    with pytest.raises(asyncio.TimeoutError):  # its kernel is gone
        await guest.run("x = b'x' * (500 << 20); print(len(x))", limit=8)
    assert await launch.poll(guest.record) == Running()
    assert await guest.status() == 200


async def test_a_server_that_stops_by_itself(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada")
    ended = watched(launch, guest)
    async with guest.session() as session, session.post(guest.url("api/shutdown")):
        pass
    await until(lambda: ended)
    assert await launch.poll(guest.record) == Stopped(0, "it stopped by itself")


async def test_a_server_that_somebody_removed(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada")
    ended = watched(launch, guest)
    house.engine.docker("rm", "--force", guest.container)
    await until(lambda: ended)
    found = await launch.poll(guest.record)
    assert isinstance(found, Stopped)
    assert "removed by somebody else" in found.why
    await launch.stop(guest.record, grace=10)
    assert house.left() == []


async def test_a_server_that_ignores_the_signal_is_killed_after_the_grace(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada")
    server = guest.shell("pgrep --oldest --full ServerApp.sock").strip()
    guest.shell(f"kill -STOP {server}")
    begun = asyncio.get_running_loop().time()
    await launch.stop(guest.record, grace=2)
    assert 1.5 < asyncio.get_running_loop().time() - begun < SOON_S
    assert house.left() == []


# -- launchers that die -----------------------------------------------------------------------------------------------


async def test_what_a_killed_launcher_has_begun_is_cleaned_up(house: House) -> None:
    def killed(record: Record) -> None:
        raise KeyboardInterrupt  # the container is there, and its record is not

    first = house.launch()
    first._undo = _nothing  # type: ignore[method-assign]  # what is dead cleans up nothing
    with pytest.raises(KeyboardInterrupt):
        await first.start(house.request("ada"), house.wanted(), house.said.append, killed)
    assert len(house.containers()) == 1
    await first.close()
    second = house.launch()
    await second.open()
    assert house.containers() == []
    await second.close()


async def _nothing(container: str, server: str) -> None:
    pass


async def test_a_running_container_of_the_same_name_gives_way(house: House, launch: DockerLaunch) -> None:
    first = await house.start(launch, "ada")
    second = await house.start(launch, "ada")  # a launcher that has lost its records
    assert house.containers() == [f"hubfleet-{house.hub}-user-{short_id('ada')}"]
    assert first.container != second.container
    assert await second.status() == 200


# -- engines that die -------------------------------------------------------------------------------------------------


class OwnEngine(dockerd.Dockerd):
    """An engine that a test may kill: its containers outlive it. It has no network, and small servers."""

    IMAGE = "hubfleet-test/small:1"
    # In the machine's network it would take away the bridge of the engine that the other tests use.
    PROGRAM = ("unshare", "--net", "dockerd")

    def network(self) -> list[str]:
        return ["--bridge", "none", "--iptables=false", "--live-restore"]

    def pid(self) -> int:
        return int((self.place / "pid").read_text())

    def end(self, way: signal.Signals = signal.SIGKILL) -> None:
        """End it, and leave its containers."""
        pid = self.pid()
        os.kill(pid, way)
        soon(lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes())
        (self.place / "pid").unlink(missing_ok=True)
        # Its containerd dies with it, and may stay as a zombie where nobody reaps: then the next one would wait for it.
        (self.place / "run" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def take(self, engine: dockerd.Dockerd) -> None:
        """Make the image of small servers, on the other engine's base image."""
        saving = subprocess.Popen(["docker", "--host", f"unix://{engine.socket}", "save", dockerd.BASE], stdout=PIPE)
        loading = ["docker", "--host", f"unix://{self.socket}", "load", "--quiet"]
        subprocess.run(loading, stdin=saving.stdout, check=True, stdout=subprocess.DEVNULL)
        assert saving.wait() == 0
        context = self.place / "context"
        (context / "hubfleet_singleuser").mkdir(parents=True)
        for file in Path(singleuser.__file__).parent.glob("*.py"):
            shutil.copy(file, context / "hubfleet_singleuser")
        (context / "jupyterhub-singleuser").write_text(SMALL_SERVER)
        (context / "jupyterhub-singleuser").chmod(0o755)
        (context / "Dockerfile").write_text(SMALL_IMAGE)
        self.docker("build", "--quiet", "--network", "none", "--tag", self.IMAGE, context)


SMALL_IMAGE = f"""FROM {dockerd.BASE}
RUN python3 -m venv --without-pip {PYTHON}
COPY hubfleet_singleuser /tmp/hubfleet_singleuser
RUN mv /tmp/hubfleet_singleuser {PYTHON}/lib/python3*/site-packages/
COPY jupyterhub-singleuser {PYTHON}/bin/
"""
SMALL_SERVER = f"""#!{PYTHON}/bin/python
import os, socket, sys, time
path = next(word.partition("=")[2] for word in sys.argv if word.startswith("--ServerApp.sock="))
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(path)
    listening.listen()
    os.write(int(os.environ["HUBFLEET_READY"]), b"+")
    os.close(int(os.environ["HUBFLEET_READY"]))
    while True:
        print("I live", flush=True)
        time.sleep(0.2)
"""


@pytest.fixture(scope="module")
def own_engine(engine: dockerd.Dockerd) -> Iterator[OwnEngine]:
    made = OwnEngine(Path(tempfile.mkdtemp(prefix="hf-engine-", dir="/tmp")))
    made.start()
    try:
        made.take(engine)
        yield made
    finally:
        made.stop()
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for path in reversed([path for path in mounted if path.startswith(f"{made.place}/")]):
            subprocess.run(["umount", "--lazy", path], check=True)
        shutil.rmtree(made.place)


@pytest_asyncio.fixture
async def lonely(own_engine: OwnEngine) -> AsyncIterator[House]:
    """A hub's places, on the engine that may be killed."""
    made = House(own_engine, own_engine.IMAGE, network="none")
    yield made
    if not own_engine.answers():  # a test that has failed
        own_engine.start()
    made.remove()


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
async def test_servers_outlive_the_engine(lonely: House, own_engine: OwnEngine, way: signal.Signals) -> None:
    launch = lonely.launch()
    guest = await lonely.start(launch, "ada")
    process = guest.described()["State"]["Pid"]
    ended = watched(launch, guest)
    own_engine.end(way)
    assert await launch.poll(guest.record) == Unknown("the Docker engine is down")
    await fails_elsewhere(lonely, launch)
    assert there(process)
    await asyncio.to_thread(own_engine.start)
    assert await launch.poll(guest.record) == Running()
    assert guest.described()["State"]["Pid"] == process
    seen = lonely.log("ada").count("I live")
    await until(lambda: lonely.log("ada").count("I live") > seen)  # it is followed again
    assert ended == []
    own_engine.docker("kill", guest.container)
    await until(lambda: ended)
    await launch.stop(guest.record, grace=0)
    assert lonely.left() == []
    await launch.close()


def there(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


async def fails_elsewhere(house: House, launch: DockerLaunch) -> None:
    with pytest.raises(StartFailed, match="the Docker engine is down"):
        await asyncio.wait_for(house.start(launch, "ben"), SOON_S)


async def test_a_server_that_ends_while_the_engine_is_away(lonely: House, own_engine: OwnEngine) -> None:
    launch = lonely.launch()
    guest = await lonely.start(launch, "ada")
    process = guest.described()["State"]["Pid"]
    ended = watched(launch, guest)
    own_engine.end()
    os.kill(process, signal.SIGKILL)
    await until(lambda: not there(process))
    assert isinstance(await launch.poll(guest.record), Unknown)
    await asyncio.sleep(2 * AGAIN_S)  # time enough to take "cannot be asked" for "ended"
    assert ended == []
    await asyncio.to_thread(own_engine.start)
    await until(lambda: ended)
    assert isinstance(await launch.poll(guest.record), Stopped)
    await launch.stop(guest.record, grace=0)
    assert lonely.left() == []
    await launch.close()


async def test_an_engine_that_hangs(lonely: House, own_engine: OwnEngine) -> None:
    launch = lonely.launch()
    guest = await lonely.start(launch, "ada")
    ended = watched(launch, guest)
    os.kill(own_engine.pid(), signal.SIGSTOP)
    try:
        assert await launch.poll(guest.record) == Unknown("the Docker engine does not answer")
        stopping = asyncio.create_task(launch.stop(guest.record, grace=1))
        await asyncio.sleep(AGAIN_S)
        assert not stopping.done()
        assert ended == []
    finally:
        os.kill(own_engine.pid(), signal.SIGCONT)
    await asyncio.wait_for(stopping, SOON_S)
    await until(lambda: ended)
    assert lonely.left() == []
    await launch.close()


async def test_a_stop_waits_for_an_engine_that_starts_anew(lonely: House, own_engine: OwnEngine) -> None:
    launch = lonely.launch()
    guest = await lonely.start(launch, "ada")
    own_engine.end()
    stopping = asyncio.create_task(launch.stop(guest.record, grace=1))
    await asyncio.to_thread(own_engine.start)
    await asyncio.wait_for(stopping, SOON_S)
    assert lonely.left() == []
    await launch.close()


def watched(launch: DockerLaunch, guest: Guest) -> list[Record]:
    """Has the launch watch it; holds its record once it has ended."""
    ended: list[Record] = []
    launch.watch(guest.record, ended.append)
    return ended
