"""What commands need of engine docker is what the `hubfleet` command is installed with."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

LOCK = Path(__file__).parents[4] / "requirements" / "cli.txt"


def test_commands_need_what_is_installed_with_them_only() -> None:
    assert "\naiodocker==" not in LOCK.read_text()
    assert metadata.version("aiodocker"), "it is here, so that its absence has to be made"
    program = "import sys; sys.modules['aiodocker'] = None; from hubfleet.engines import engine; engine('docker')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
