"""Disks of guests: Debian with systemd, sshd, Docker, an NFS server and XFS, made once and kept for the next runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CLEAN_ROOT = HERE.parent / "local" / "clean_root.sh"
CACHE = Path(os.environ.get("HUBFLEET_TEST_CACHE", "/var/cache/hubfleet-tests"))
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod", "procps", "openssh-server", "linux-image-cloud-amd64"),
    *(
        "iproute2",
        "iptables",
        "nftables",
        "sudo",
        "curl",
        "docker.io",
        "apparmor",
        "xfsprogs",
        "quota",
        "busybox-static",
    ),
)
DISK = "4G"
_SETUP = HERE / "image_setup.sh"
_KEPT = 3
"""Of how many sources the image is kept: several may be tried out by turns, and guests may run from one of them."""

Furnish = Callable[[Path], None]


@dataclass(frozen=True)
class Image:
    """What a guest is started from: a directory with its disk, which no guest writes to, its kernel and its keys."""

    place: Path

    @property
    def disk(self) -> Path:
        return self.place / "disk"

    @property
    def key(self) -> Path:
        """With which root may log in."""
        return self.place / "key"

    @property
    def host_key(self) -> str:
        """What every guest shows who it is with, as a file of known hosts has it."""
        return (self.place / "host_key.pub").read_text().rsplit(" ", 1)[0]


def image(name: str = "plain", sources: Iterable[Path] = (), furnish: Furnish = lambda root: None) -> Image:
    """The image of this name as its sources are now. ``furnish`` puts into the root what is particular to it.

    ``sources``: files whose content decides what ``furnish`` does. A new one takes two minutes and what it furnishes.
    """
    digest = hashlib.sha256("\n".join([*PACKAGES, DISK]).encode())
    for path in [_SETUP, CLEAN_ROOT, *sources]:
        digest.update(str(path.relative_to(HERE.parents[1])).encode() + b"\n" + path.read_bytes())
    CACHE.mkdir(parents=True, exist_ok=True)
    place = CACHE / f"guest-{name}-{digest.hexdigest()[:16]}"
    with (CACHE / f"guest-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if place.exists():
            os.utime(place)
        else:
            _make(place, furnish)
            made = [one for one in CACHE.glob(f"guest-{name}-*") if one.is_dir()]
            for old in sorted(made, key=lambda one: one.stat().st_mtime)[:-_KEPT]:
                shutil.rmtree(old)
    return Image(place)


def run(root: Path, script: Path) -> None:
    """Run a script of ours in a guest's root, while it is not yet a disk; with this machine's network."""
    subprocess.run([CLEAN_ROOT, "run", root, script.read_text().strip()], check=True)


def _make(place: Path, furnish: Furnish) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".guest-") as temporary:
        root, made = Path(temporary, "root"), Path(temporary, "made")
        made.mkdir(mode=0o700)  # there is a key in it
        build = [CLEAN_ROOT, "build", root]
        subprocess.run(build, check=True, env={**os.environ, "HUBFLEET_TEST_PACKAGES": " ".join(PACKAGES)})
        run(root, _SETUP)
        furnish(root)
        for wanted in ("vmlinuz", "initrd.img"):
            shutil.copy(root / wanted, made / wanted)
        shutil.move(root / "root/.ssh/guest", made / "key")
        shutil.copy(root / "etc/ssh/ssh_host_ed25519_key.pub", made / "host_key.pub")
        shutil.rmtree(root / "root/.cache", ignore_errors=True)
        (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")  # which says at once that there is none
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, made / "disk", DISK], check=True)
        made.rename(place)
