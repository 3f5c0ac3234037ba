"""systemd and control groups of version 2, in a virtual machine: this one's are of version 1 and it has no systemd.

One boot, one script, many questions: the processor is emulated, and the whole takes about five minutes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from guestimages import Image, image, run
from guests import Guests

import needs

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
HARNESS = HERE.parent / "local" / "harness.py"
SETUP, SCRIPT = HERE / "systemd_setup.sh", HERE / "systemd_script.py"
THERE = "opt/hubfleet"
LIMIT_S = 1100
Seen = dict[str, dict[str, Any]]

pytestmark = needs.guests(1800)


def furnish(root: Path) -> None:
    """This checkout, installed as `make venv` does it, with the environments of hub `guest`."""
    there = root / THERE
    (there / "tests/local").mkdir(parents=True)
    for folder in ("src", "requirements"):
        shutil.copytree(REPOSITORY / folder, there / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, there / file)
    shutil.copy(HARNESS, there / "tests/local")
    run(root, SETUP)


def with_checkout() -> Image:
    """The image with hubfleet, made anew when anything of it changes."""
    folders = [path for name in ("src", "requirements") for path in sorted((REPOSITORY / name).rglob("*"))]
    kept = [path for path in folders if path.is_file() and "__pycache__" not in path.parts]
    return image("hubfleet", [REPOSITORY / "pyproject.toml", *kept, HARNESS, SETUP], furnish)


@pytest.fixture(scope="module")
def seen(guests: Guests) -> Seen:
    """What the script in the guest has seen of each thing."""
    guest = guests.begin("guest", with_checkout(), memory="3G", processors=4)
    guest.await_up()
    guest.put(SCRIPT, "/run/script.py")
    said = guest.run(f"cd /root && /{THERE}/.venv/bin/python /run/script.py 2>&1", check=False, limit_s=LIMIT_S)
    print(said)
    lines = [json.loads(line) for line in said.splitlines() if line.startswith('{"what": ')]
    found = {line["what"]: line for line in lines}
    assert lines, said
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
