"""What a program under the filter is refused by this kernel, and what it is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hubfleet.engines.projectlock import refusal

PROGRAM = """
import ctypes, fcntl, json, os, subprocess, sys
from hubfleet.singleuser import enter

if sys.argv[2]:
    enter._refuse(sys.argv[2])
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
flags = fcntl.ioctl(file, 0x80086601, bytes(8))  # FS_IOC_GETFLAGS

def attempt(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0

said = {
    "flags": attempt(lambda: fcntl.ioctl(file, 0x40086602, flags)),
    "attributes": attempt(lambda: fcntl.ioctl(file, 0x401C5820, fcntl.ioctl(file, 0x801C581F, bytes(28)))),
    "others": attempt(lambda: fcntl.ioctl(file, 0x541B, bytes(4))),  # FIONREAD
    "child": subprocess.run(["chattr", "+d", sys.argv[1]], capture_output=True).returncode,
}
print(json.dumps(said))
"""


def said(tmp_path: Path, digits: str) -> dict[str, int]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "file"), digits], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_nobody_says_to_which_project_a_file_belongs(tmp_path: Path) -> None:
    free = said(tmp_path, "")
    if free != {"flags": 0, "attributes": 0, "others": 0, "child": 0}:
        pytest.skip(f"needs a file system with attributes for {tmp_path}: {free}")
    assert said(tmp_path, refusal()) == {"flags": 1, "attributes": 1, "others": 0, "child": 1}
