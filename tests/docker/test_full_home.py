"""Homes in containers that are full, or counted: the server starts, and nobody gets out of the count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import House
from disks import SmallDisk

import needs
from hubfleet.engines.docker.launch import DockerLaunch
from hubfleet.homes import HOMES_MARKER
from hubfleet.units import Bytes

pytestmark = [
    needs.root(),
    needs.command("dockerd", package="docker.io"),
    needs.command("mmdebstrap"),
    pytest.mark.timeout(900),  # the first one makes the image
]

ATTEMPT = """
import fcntl
def attempt(*call):
    try:
        fcntl.ioctl(*call)
        return 0
    except OSError as error:
        return error.errno
with open('mine.txt', 'w') as file:
    known = fcntl.ioctl(file, 0x801C581F, bytes(28))
    flags = fcntl.ioctl(file, 0x80086601, bytes(8))
    print(attempt(file, 0x401C5820, known), attempt(file, 0x40086602, flags))
"""
"""Says in which count a file is, and which attributes it has: what they are already."""


@pytest.fixture
def disk(house: House, tmp_path: Path) -> Iterator[SmallDisk]:
    """Under the homes."""
    made = SmallDisk(tmp_path / "homes.img", house.layout.homes)
    made.place.chmod(0o711)
    (made.place / HOMES_MARKER).touch()
    yield made
    made.remove()


async def test_a_server_starts_in_a_full_home(house: House, launch: DockerLaunch, disk: SmallDisk) -> None:
    guest = await house.start(launch, "ada")
    await guest.run("open('kept', 'w').write('words')")
    await launch.stop(guest.record, grace=10)
    disk.fill()
    guest = await house.start(launch, "ada", home_limit=Bytes(disk.free + 8 * 1024**2))
    assert await guest.run("print(open('kept').read())") == "words\n"
    where = "import os; print(os.environ.get('JUPYTER_CONFIG_DIR'))"
    assert await guest.run(where) == f"/run/user/{guest.uid}/jupyter_config_dir\n"
    disk.relieve()
    await launch.stop(guest.record, grace=10)
    guest = await house.start(launch, "ada")
    assert await guest.run(where) == "None\n"


async def test_nobody_says_in_which_count_a_file_is(house: House, launch: DockerLaunch) -> None:
    guest = await house.start(launch, "ada")
    assert await guest.run(ATTEMPT) == "0 0\n"
    await launch.stop(guest.record, grace=10)
    guest = await house.start(launch, "ada", homes_counted=True)
    assert await guest.run(ATTEMPT) == "1 1\n"
