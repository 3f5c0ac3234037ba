"""Small real disks, to be filled up."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

SIZE = 8 * 1024 * 1024


class SmallDisk:
    """An ext4 file system of 8 MB in a file, mounted on a directory. Skips the test where that is not permitted."""

    def __init__(self, image: Path, place: Path) -> None:
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        with open(image, "wb") as file:
            file.truncate(SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        done = subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"needs loop mounts, and this machine refuses them: {done.stderr.strip()}")

    @property
    def free(self) -> int:
        return os.statvfs(self.place).f_bavail * os.statvfs(self.place).f_frsize

    def fill(self, leave: int = 0) -> None:
        """Take all the space but ``leave`` bytes. Others may write meanwhile, and then there is none left earlier."""
        try:
            with open(self.place / "ballast", "ab", buffering=0) as ballast:
                for piece in (1 << 16, 1 << 10):
                    while self.free - leave >= piece:
                        ballast.write(b"x" * piece)
                        os.fsync(ballast.fileno())
        except OSError as error:
            if error.errno != errno.ENOSPC or leave:
                raise

    def relieve(self) -> None:
        (self.place / "ballast").unlink(missing_ok=True)
        os.sync()

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.place)], check=False, capture_output=True)
