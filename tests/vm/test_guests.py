"""The emulated machines themselves: what the other tests of this group take for granted."""

from __future__ import annotations

import pytest
from guestimages import Image
from guests import Guest, Guests, awaited

import needs

pytestmark = needs.guests()
MIB = 1024**2


@pytest.fixture(scope="module")
def pair(guests: Guests, plain: Image) -> tuple[Guest, Guest]:
    """Two machines, the first with a disk of its own beside the system's."""
    one, two = guests.begin("one", plain, disks=[512 * MIB]), guests.begin("two", plain)
    one.await_up()
    two.await_up()
    return one, two


def test_they_reach_each_other_and_nothing_else(pair: tuple[Guest, Guest]) -> None:
    one, two = pair
    assert one.run("hostname") == "one"
    assert "SSH" in two.run(f"timeout 20 bash -c 'head -c 3 </dev/tcp/{one.address}/22'")
    assert "no way" in one.run("timeout 5 bash -c '</dev/tcp/10.0.2.2/22' || echo no way")


@pytest.mark.parametrize("options", ["prjquota", "usrquota,grpquota"])
def test_the_kernel_has_quotas_of_xfs(options: str, pair: tuple[Guest, Guest]) -> None:
    one, _ = pair
    one.run("mkfs.xfs -q -f /dev/vdb && mkdir -p /mnt/there")
    one.run(f"mount -o {options} /dev/vdb /mnt/there")
    assert options.split(",")[0] in one.run("findmnt -n -o OPTIONS /mnt/there")
    one.run("umount /mnt/there")


def test_the_kernel_has_both_ends_of_nfs(pair: tuple[Guest, Guest]) -> None:
    one, _ = pair
    one.run("modprobe nfsd && modprobe nfsv4")


def test_what_was_written_to_the_disk_outlives_a_power_cut(pair: tuple[Guest, Guest]) -> None:
    _, two = pair
    boot = two.run("cat /proc/sys/kernel/random/boot_id")
    two.run("echo kept >/root/kept && sync && echo lost >/root/lost")
    two.power_cut()
    two.start()
    assert two.run("cat /root/kept") == "kept"
    assert two.run("cat /root/lost", check=False) != "lost"
    assert two.run("cat /proc/sys/kernel/random/boot_id") != boot
    awaited(two, "systemctl is-system-running", "running")
