"""The images of services: built of a directory, or as they are published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hubfleet.config.machines import is_image
from hubfleet.errors import CheckError
from hubfleet.projects.services.model import Service
from hubfleet.resources import Image

MOST_BYTES = 50 * 1024**2
"""Of a directory that an image is built of: it is sent to the machine whole."""
_LEFT_OUT = {".git", "__pycache__", ".DS_Store"}
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)", re.IGNORECASE | re.MULTILINE)


def image_of(deployment: str, name: str, service: Service) -> Image:
    """Named by what it is made of. Raises CheckError for a directory that none can be built of."""
    label = f"{deployment}_{name}"
    if service.build is None:
        base = str(service.image)
        # One step, so that what was fetched for it is known as ours, and goes when nothing needs it.
        return Image.of(label, base, f"FROM {base}\nLABEL hubfleet.service={name}\n")
    dockerfile = (service.build / "Dockerfile").read_text(encoding="utf-8")
    found = _FROM.search(dockerfile)
    if found is None or not is_image(found[1]):
        raise CheckError(
            f"{service.build / 'Dockerfile'} does not begin with an image of a version",
            state="Nothing was changed",
            remedy="FROM debian:12.11-slim",
        )
    return Image.of(label, found[1], dockerfile, _files(service.build))


def _files(folder: Path) -> dict[str, bytes]:
    """What is in a directory, by path. Nothing outside it: a link could name a file of the operator's."""
    found: dict[str, bytes] = {}
    size = 0
    for path in _walk(folder):
        size += path.stat().st_size
        if size > MOST_BYTES:
            raise CheckError(
                f"{folder} has more than {MOST_BYTES // 1024**2} MB, all of which is sent to the machine",
                state="Nothing was changed",
                remedy="keep what the image does not need elsewhere",
            )
        found[path.relative_to(folder).as_posix()] = path.read_bytes()
    found.pop("Dockerfile", None)
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _LEFT_OUT:
            continue
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise CheckError(f"{path} is a link", state="Nothing was changed", remedy="a copy of what it leads to")
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path
