"""What engine slurm needs beyond others is needed by nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hubfleet

ROOT = Path(__file__).parents[4]
PURE = ("away", "board", "gate", "listing", "partitions", "placing", "script", "words")


def ran(code: str) -> str:
    """What happens to this where there is no asyncssh; "" when nothing does."""
    blocked = f"import sys; sys.modules['asyncssh'] = None; {code}"
    return subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True).stderr


def test_other_engines_and_commands_need_no_asyncssh() -> None:
    for lock in ("requirements/cli.txt", "src/hubfleet/environments/user.txt"):
        assert "\nasyncssh==" not in (ROOT / lock).read_text(), lock
    engines = "; ".join(f"engine({name!r})" for name in ("docker", "local", "swarm"))
    assert ran(f"from hubfleet.engines import engine; {engines}; from hubfleet.cli import program; program()") == ""
    assert "import of asyncssh halted" in ran("import hubfleet.engines.slurm.remote"), (
        "it is asyncssh that was looked for"
    )


def test_nothing_else_imports_it() -> None:
    package = Path(hubfleet.__file__).parent
    users = {path.relative_to(package) for path in package.rglob("*.py") if "import asyncssh" in path.read_text()}
    assert users == {Path("engines/slurm/remote.py")}


@pytest.mark.parametrize("name", PURE)
def test_what_reads_and_writes_texts_only_needs_it_neither(name: str) -> None:
    assert ran(f"import hubfleet.engines.slurm.{name}") == ""
