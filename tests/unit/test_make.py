"""`make` and the CI script say nothing wrong until they run: their shell lines are read here without being run."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", ["test", "up", "lab", "lint", "lock", "docs", "help"])
def test_the_lines_of_a_target_are_whole_shell_commands(target: str) -> None:
    lines = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert lines.strip()
    read = subprocess.run(["bash", "-n"], input=lines, capture_output=True, text=True, check=False)
    assert read.returncode == 0, f"{read.stderr}\n{lines}"


@pytest.mark.parametrize("script", [".ci/run", "scripts/lock.sh"])
def test_a_script_is_whole(script: str) -> None:
    assert subprocess.run(["bash", "-n", ROOT / script], check=False).returncode == 0
