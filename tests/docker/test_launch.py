"""Users' servers in containers: they come up, keep their homes, are limited, and are found again."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from pathlib import Path

import pytest
from containers import HUB_GID, House, until

import needs
from hubfleet.config import Mount
from hubfleet.engines.docker.launch import DockerLaunch
from hubfleet.engines.uids import FIRST
from hubfleet.launcher.base import Record, Running, Stopped
from hubfleet.units import Bytes, Cores

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.timeout(900),  # the first one makes the image
]


async def test_a_server_comes_up_answers_and_is_stopped(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada")
    assert house.said == [
        "Preparing the home directory",
        "Making the container",
        "Starting the server",
        "The server is up",
    ]
    assert await guest.status() == 200
    assert await guest.status(token="another") == 403
    assert await launch.poll(guest.record) == Running()
    assert await guest.run("print(6 * 7)") == "42\n"
    ended: list[Record] = []
    launch.watch(guest.record, ended.append)
    await launch.stop(guest.record, grace=10)
    await until(lambda: ended)
    assert isinstance(await launch.poll(guest.record), Stopped)
    assert house.left() == []
    await launch.stop(guest.record, grace=10)  # what is gone is success


async def test_somebody_s_server_has_another_image(house: House, tmp_path: Path) -> None:
    base, tag = "quay.io/ours/other:1", f"{house.settings.image}-other"
    (tmp_path / "Dockerfile").write_text(
        f"FROM {house.settings.image}\nRUN echo other >/etc/which && groupadd --gid 4712 others\n"
    )
    house.engine.docker("build", "--quiet", "--tag", tag, str(tmp_path))
    launch = house.launch(images={base: tag})
    try:
        code = (
            "import grp, os; print(os.path.exists('/etc/which'), 'others' in [one.gr_name for one in grp.getgrall()])"
        )
        ada, ben = await house.start(launch, "ada", image=base), await house.start(launch, "ben")
        assert [await guest.run(code) for guest in (ada, ben)] == ["True True\n", "False False\n"]
        for guest in (ada, ben):
            await launch.stop(guest.record, grace=5)
    finally:
        await launch.close()
        house.engine.docker("rmi", "--force", tag)


async def test_its_directory_is_for_its_user_the_hub_and_the_proxy(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada")
    run = Path(guest.socket).parent.stat()
    assert (run.st_uid, run.st_gid, stat.S_IMODE(run.st_mode)) == (guest.uid, HUB_GID, 0o710)


async def test_its_user_has_a_name_a_home_and_what_the_image_has(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada", environment={"COURSE": "physics"})
    code = "import getpass, grp, os, pwd; print(getpass.getuser(), pwd.getpwuid(os.getuid()).pw_dir, os.getcwd(),"
    code += " grp.getgrgid(os.getgid()).gr_name, pwd.getpwnam('root').pw_uid, os.environ['COURSE'],"
    code += " os.environ.get('SSL_CERT_FILE'), os.uname().nodename)"
    told = f"ada /home/ada /home/ada ada 0 physics /etc/ssl/certs/ca-certificates.crt {house.hub}\n"
    assert await guest.run(code) == told


async def test_a_home_stays_its_users(house: House, launch: DockerLaunch) -> None:
    first = await house.start(launch, "ada")
    await first.run("open('kept', 'w').write('words')")
    await launch.stop(first.record, grace=10)
    second = await house.start(launch, "ada")
    assert await second.run("print(open('kept').read())") == "words\n"
    found = (second.home / "kept").stat()
    assert found.st_uid == found.st_gid == second.uid >= FIRST
    other = await house.start(launch, "ben")
    assert other.uid != second.uid
    assert stat.S_IMODE(other.home.stat().st_mode) == 0o700


async def test_homes_that_are_not_kept_end_with_their_server(house: House) -> None:
    launch = house.launch(keeper=None)
    guest = await house.start(launch, "ada")
    await guest.run("open('passing', 'w')")
    passing = house.layout.state / "passing-homes"
    assert (passing / "ada" / "passing").exists()
    await launch.stop(guest.record, grace=10)
    assert list(passing.iterdir()) == []
    await launch.close()


async def test_limits_hold_inside(house: House, launch: DockerLaunch) -> None:
    limits = {"memory_limit": Bytes(400 << 20), "memory_guarantee": Bytes(200 << 20), "processes": 300}
    guest = await house.start(launch, "ada", **limits, cpu_limit=Cores(0.5), cpu_guarantee=Cores(0.25))
    host = guest.described()["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["MemoryReservation"]) == (400 << 20, 400 << 20, 200 << 20)
    assert (host["NanoCpus"], host["CpuShares"], host["PidsLimit"]) == (500_000_000, 256, 300)
    groups = "/sys/fs/cgroup"
    if os.access(f"{groups}/cgroup.controllers", os.F_OK):
        files = ["memory.max", "memory.low", "cpu.max", "pids.max"]
        wanted = [str(400 << 20), str(200 << 20), "50000 100000", "300"]
    else:
        files = ["memory/memory.limit_in_bytes", "memory/memory.soft_limit_in_bytes", "cpu/cpu.cfs_quota_us"]
        files += ["pids/pids.max"]
        wanted = [str(400 << 20), str(200 << 20), "50000", "300"]
    assert guest.shell(f"cd {groups}; cat {' '.join(files)}").splitlines() == wanted
    assert int(guest.shell("df --output=size -B1 /tmp | tail -1")) == 400 << 20


async def test_more_cores_than_there_are_mean_all(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada", cpu_limit=Cores(1000))
    assert guest.described()["HostConfig"]["NanoCpus"] == (os.cpu_count() or 1) * 10**9


async def test_mounts_are_in_sight(house: House, launch: DockerLaunch) -> None:
    data = house.layout.base / "data"
    (data / "inner").mkdir(parents=True)
    data.chmod(0o777)
    (data / "text").write_text("shared")
    linked = house.layout.base / "link"
    linked.symlink_to("data")
    mounts = (Mount(str(linked), "/data", "ro"), Mount(str(data), "/home/ada/work", "rw"))
    guest = await house.start(launch, "ada", mounts=mounts)
    assert await guest.run("print(open('/data/text').read())") == "shared\n"
    assert "Read-only file system" in await guest.run("open('/data/new', 'w')")
    assert await guest.run("open('/home/ada/work/new', 'w').write('x')") == ""
    assert (data / "new").read_text() == "x"


async def test_a_file_system_inside_a_mount_is_not_writable_either(house: House, launch: DockerLaunch) -> None:
    data = house.layout.base / "data"
    (data / "inner").mkdir(parents=True)
    _tool("mount", "-t", "tmpfs", "none", str(data / "inner"))
    try:
        (data / "inner" / "text").write_text("deep")
        (data / "inner").chmod(0o777)
        guest = await house.start(launch, "ada", mounts=(Mount(str(data), "/data", "ro"),))
        assert await guest.run("print(open('/data/inner/text').read())") == "deep\n"
        assert "Read-only file system" in await guest.run("open('/data/inner/new', 'w')")
        await launch.stop(guest.record, grace=10)
    finally:
        _tool("umount", str(data / "inner"))


def _tool(*command: str) -> None:
    subprocess.run(command, check=True)


async def test_named_servers_are_apart(house: House, launch: DockerLaunch) -> None:
    one, two = await asyncio.gather(house.start(launch, "ada"), house.start(launch, "ada", "second"))
    assert one.socket != two.socket
    assert len(house.containers()) == 2
    assert await two.status() == 200
    seen = await one.run(f"import os; print(os.listdir({str(Path(two.socket).parent.parent)!r}))")
    assert seen == f"['{Path(one.socket).parent.name}']\n"


async def test_what_a_server_prints_is_in_its_log(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada")
    assert stat.S_IMODE(os.stat(guest.record.log).st_mode) == 0o600
    await guest.run("import os; open(f'/proc/{os.getppid()}/fd/2', 'w').write('words of grün\\n')")
    await until(lambda: "words of grün\n" in house.log("ada"))
    await launch.stop(guest.record, grace=10)
    text = house.log("ada")
    assert text.startswith("--- server started ")
    assert text.count("words of grün\n") == 1
    assert guest.token not in text


async def test_ten_at_once(house: House, launch: DockerLaunch) -> None:
    names = [f"user{number}" for number in range(10)]
    guests = await asyncio.gather(*(house.start(launch, name) for name in names))
    assert [await guest.status() for guest in guests] == [200] * 10
    assert len({guest.uid for guest in guests}) == 10
    await asyncio.gather(*(launch.stop(guest.record, grace=10) for guest in guests))
    assert house.left() == []


async def test_the_next_launcher_finds_it_again(house: House) -> None:
    first = house.launch()
    guest = await house.start(first, "ada")
    await first.close()
    second = house.launch()
    await second.open()
    assert await second.poll(guest.record) == Running()
    ended: list[Record] = []
    second.watch(guest.record, ended.append)
    house.engine.docker("kill", guest.container)
    await until(lambda: ended)
    assert await second.poll(guest.record) == Stopped(137, "it was ended by signal SIGKILL")
    await second.stop(guest.record, grace=0)
    assert house.left() == []
    await second.close()
