"""What `pipx install .` gives."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from hubfleet.environments import lock_text

REPOSITORY = Path(__file__).parents[2]


def test_the_package_has_every_file_of_the_source(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        ".",
    ]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    packed = {name for name in zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist() if "dist-info" not in name}
    files = [path for path in (REPOSITORY / "src" / "hubfleet").rglob("*") if path.is_file()]
    assert packed == {str(path.relative_to(REPOSITORY / "src")) for path in files if "__pycache__" not in path.parts}
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from hubfleet.cli import run; run()"
    wheel = next(tmp_path.glob("*.whl"))
    assert subprocess.run([sys.executable, "-c", program, wheel, "--version"], cwd=tmp_path).returncode == 0


def test_hub_and_servers_are_of_one_version() -> None:
    """Servers do not ask their hub for its version."""
    hub, users = (
        [line.split()[0] for line in lock_text(name).splitlines() if line.startswith("jupyterhub==")]
        for name in ("hub.txt", "user.txt")
    )
    assert hub == users
    assert len(hub) == 1
