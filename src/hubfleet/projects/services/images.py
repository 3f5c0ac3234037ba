"""The images of services: built of a directory, or as they are published."""

from __future__ import annotations

import re

from hubfleet.config.machines import is_image
from hubfleet.errors import CheckError
from hubfleet.projects.base import Site
from hubfleet.projects.services.buildfolder import build_folder
from hubfleet.projects.services.model import Service
from hubfleet.resources import Image

_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)", re.IGNORECASE | re.MULTILINE)


def image_of(deployment: str, name: str, service: Service, site: Site) -> Image:
    """Named by what it is made of. Raises CheckError for a directory that none can be built of."""
    label = f"{deployment}_{name}"
    if service.build is None:
        base = str(service.image)
        # One step, so that what was fetched for it is known as ours, and goes when nothing needs it.
        return Image.of(label, base, f"FROM {base}\nLABEL hubfleet.service={name}\n")
    files, programs = build_folder(service.build, name, site)
    dockerfile = files.pop("Dockerfile").decode()
    found = _FROM.search(dockerfile)
    if found is None or not is_image(found[1]):
        raise CheckError(
            f"{service.build / 'Dockerfile'} does not begin with an image of a version",
            state="Nothing was changed",
            remedy="FROM debian:12.11-slim",
        )
    return Image.of(label, found[1], dockerfile, files, programs=programs)
