"""Environments with what others publish, each made once: installed by pinned version, kept for the next run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_CACHE = Path(os.environ.get("HUBFLEET_TEST_CACHE", "/var/cache/hubfleet-tests"))


def environment(pins: Sequence[str]) -> Path:
    """The directory of the programs of an environment with these packages and all that they need."""
    digest = hashlib.sha256("\n".join([sys.version, *pins]).encode()).hexdigest()[:16]
    made = _CACHE / f"peers-{digest}"
    if not (made / "complete").exists():
        print(f"installing {', '.join(pins)} into {made}", file=sys.stderr, flush=True)
        shutil.rmtree(made, ignore_errors=True)
        made.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", made], check=True, stdout=sys.stderr)
        pip: list[str | Path] = [made / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *pins], check=True, stdout=sys.stderr, stderr=subprocess.DEVNULL)
        subprocess.run([made / "bin/python", "-m", "compileall", "-q", made / "lib"], check=False, stdout=sys.stderr)
        (made / "complete").touch()
    return made / "bin"


def versions(bin_: Path, names: Sequence[str]) -> dict[str, str]:
    """Of packages in an environment."""
    code = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]), sep='\\n')"
    done = subprocess.run([bin_ / "python", "-c", code, *names], capture_output=True, text=True, check=True)
    return dict(zip(names, done.stdout.split(), strict=True))


def require(needed: Mapping[str, str]) -> None:
    """End with what to type, unless this is root and these commands are there, the packages that have them beside."""
    missing = [package for command, package in needed.items() if shutil.which(command) is None]
    if os.geteuid() != 0 or missing:
        sys.exit(f"This needs root and: apt install {' '.join(missing or needed.values())}")
