"""What the containers of all parts have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubfleet.engines.docker.images import ENVIRONMENT
from hubfleet.resources import File, Image

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PYTHON = f"{ENVIRONMENT}/bin/python"


def as_json(data: dict[str, Any]) -> str:
    """A file's text, the same for the same data."""
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def confined(image: Image) -> dict[str, Any]:
    """Of a `Container`: its image, which it cannot write to."""
    return {"image": image.tag, "read_only": True, "tmpfs": (("/tmp", 64 * 1024**2),)}


def shown(*paths: Path, mode: str = "ro") -> tuple[tuple[str, str, str], ...]:
    """Mounts of what is at the same place inside."""
    return tuple((str(path), str(path), mode) for path in paths)


def reading(files: Mapping[str, File], *names: str) -> dict[str, Any]:
    """Of a `Container`: the files that it reads at start."""
    found = [files[name] for name in names]
    return {"depends": tuple(file.sha256 for file in found), "reads": tuple(file.path for file in found)}


def alive(socket: Path) -> dict[str, Any]:
    """Of a `Container`: that it answers at this socket."""
    return {"ready": str(socket), "health": (PYTHON, "-m", "hubfleet.alive", str(socket))}
