"""`make lab`: the same machines, for people."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dockerd
import pytest

import needs
from waiting import soon

pytestmark = needs.machines(900)

CHECKOUT = Path(__file__).parents[2]


def lab(checkout: Path, *words: str) -> str:
    command = [sys.executable, checkout / "scripts" / "lab.py", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """One of its own: the lab belongs to the checkout."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(CHECKOUT / "scripts" / "lab.py", tmp_path / "scripts")
    (tmp_path / "tests").symlink_to(CHECKOUT / "tests")
    yield tmp_path
    lab(tmp_path, "down")


def test_what_is_printed_leads_to_the_machines(checkout: Path) -> None:
    said = lab(checkout, "up", "2")
    assert "removes it all" in said, said
    for name in ("hub1", "worker1"):
        command = next(line for line in said.splitlines() if line.endswith(name) or f"{name} " in line).partition("#")[
            0
        ]
        reached = subprocess.run(f"{command} hostname", shell=True, cwd=checkout, capture_output=True, text=True)
        assert (reached.stdout, reached.stderr) == (f"{name}\n", ""), said
    config, sample = checkout / ".lab" / "ssh_config", (checkout / ".lab" / "hubfleet.yaml").read_text()
    destination = sample.partition("ssh: ")[2].partition(",")[0]
    reached = subprocess.run(["ssh", "-F", config, destination, "hostname"], capture_output=True, text=True)
    assert reached.stdout == "hub1\n", "and so does the address in the configuration"
    checked = subprocess.run(
        [sys.executable, "-m", "hubfleet", "-c", checkout / ".lab" / "hubfleet.yaml", "check"],
        capture_output=True,
        text=True,
    )
    assert "hub1 is reached as root" in checked.stdout, checked.stderr
    assert "worker1 is reached as root" in checked.stdout, checked.stderr
    assert "hub1: /srv/homes is a file system of its own" in checked.stdout
    assert "does not reach" not in checked.stdout
    assert "There is a lab already" in lab(checkout, "up", "1")
    with dockerd.shared() as engine:
        keeper = Path("/proc") / (checkout / ".lab" / "keeper").read_text()
        held = [os.readlink(one) for one in (keeper / "fd").iterdir()]
        assert str(engine.place / "users") in held, "the engine has a user as long as the lab is there"
        assert lab(checkout, "down") == "The lab is gone.\n"
        assert str(checkout) not in engine.docker("ps", "--all", "--format", "{{.Labels}}")
        assert str(checkout) not in engine.docker("network", "ls", "--format", "{{.Labels}}")
    assert not (checkout / ".lab").exists()
    soon(lambda: not keeper.exists())


def test_no_number_of_machines(checkout: Path) -> None:
    for wrong in ("none", "0", "-1", "1000"):
        assert "a number of machines" in lab(checkout, "up", wrong)
