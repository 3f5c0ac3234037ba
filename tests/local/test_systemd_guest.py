"""systemd and control groups of version 2, in a virtual machine: this one's are of version 1 and it has no systemd.

One boot, one script, many questions: the processor is emulated, and the whole takes about five minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import needs

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
CACHE = Path(os.environ.get("HUBFLEET_TEST_CACHE", "/var/cache/hubfleet-tests"))
LIMIT_S = 1100
Seen = dict[str, dict[str, Any]]

pytestmark = [
    needs.root(),
    needs.linux(),
    needs.command("mmdebstrap"),
    needs.command("mke2fs", package="e2fsprogs"),
    needs.command("qemu-system-x86_64", package="qemu-system-x86"),
    pytest.mark.timeout(1800),
]


def key() -> str:
    """Changes with everything that goes into the image."""
    digest = hashlib.sha256()
    parts = [REPOSITORY / "pyproject.toml", *(HERE / name for name in ("guest.sh", "clean_root.sh", "guest_setup.sh"))]
    parts += [path for name in ("src", "requirements") for path in sorted((REPOSITORY / name).rglob("*"))]
    for path in [*parts, HERE / "harness.py"]:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(REPOSITORY)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def image(temporary: Path) -> Path:
    """The directory with the guest's disk and kernel: made once, and only the latest is kept."""
    wanted = CACHE / f"guest-{key()}"
    if not (wanted / "disk").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([HERE / "guest.sh", "image", temporary / "image"], check=True)
        for old in CACHE.glob("guest-*"):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(temporary / "image", temporary / "sparse", copy_function=_copy_sparse)
        shutil.rmtree(temporary / "image")
        shutil.move(temporary / "sparse", wanted)
    return wanted


def _copy_sparse(source: str, target: str) -> None:
    subprocess.run(["cp", "--sparse=always", source, target], check=True)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What the script in the guest has seen of each thing."""
    temporary = tmp_path_factory.mktemp("guest")
    out = temporary / "seen"
    command = [HERE / "guest.sh", "boot", image(temporary), HERE / "guest_script.py", out]
    try:
        subprocess.run(command, check=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL)
    finally:
        print(out.read_text(errors="replace") if out.exists() else "the guest said nothing")
    lines = [json.loads(line) for line in out.read_text().splitlines() if line.startswith('{"what": ')]
    found = {line["what"]: line for line in lines}
    assert "failed" not in found, found["failed"]
    return found


def test_up_installs_and_starts_the_unit(seen: Seen) -> None:
    assert "create file /etc/systemd/system/hubfleet-guest.service" in seen["up"]["text"]
    assert (seen["up"]["ActiveState"], seen["up"]["UnitFileState"]) == ("active", "enabled")


def test_status(seen: Seen) -> None:
    assert (seen["status"]["state"], seen["status"]["supervision"]) == ("running", "systemd")
    assert seen["status"]["problems"] == []


def test_limits_reach_version_2(seen: Seen) -> None:
    values = seen["limits"]["values"]
    values.pop("memory.swap.max", None)  # not there without swap accounting
    assert values == {"memory.max": str(400 * 1024**2), "cpu.max": "150000 100000", "pids.max": "300"}
    assert seen["limits"]["joined"] == "0::/hubfleet/guest/ada"


def test_memory_overuse_is_ended(seen: Seen) -> None:
    assert "got it" not in seen["memory overuse"]["said"]
    assert seen["memory overuse"]["server"] == 200


@pytest.mark.parametrize("how", ["restarted", "killed", "started"])
def test_the_server_outlives_its_hub(how: str, seen: Seen) -> None:
    """`systemctl restart`, `kill -9` of the supervisor, `systemctl stop` and `start`."""
    assert seen[how]["server"]
    assert (seen[how]["ActiveState"], seen[how]["UnitFileState"]) == ("active", "enabled")


def test_a_stopped_unit_leaves_the_servers_and_nothing_else(seen: Seen) -> None:
    assert seen["stopped"]["ActiveState"] == "inactive"
    assert seen["stopped"]["server"]
    assert seen["stopped"]["left"] == []


def test_the_kernel_went_on_through_all_of_it(seen: Seen) -> None:
    assert seen["started"]["kept"] == "42"


def test_down_removes_the_unit(seen: Seen) -> None:
    assert "is stopped, and so is the 1 server that ran on it" in seen["down"]["text"]
    assert (seen["down"]["ActiveState"], seen["down"]["UnitFileState"]) == ("inactive", "")
    assert not seen["down"]["unit_file"]
    assert not seen["down"]["server"]
    assert seen["down"]["groups"] == []
