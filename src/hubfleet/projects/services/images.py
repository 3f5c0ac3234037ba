"""The images of services: built of a directory, or as they are published."""

from __future__ import annotations

from hubfleet.config.machines import is_image
from hubfleet.errors import CheckError
from hubfleet.projects.base import Site
from hubfleet.projects.services.buildfolder import build_folder
from hubfleet.projects.services.dockerfile import bases
from hubfleet.projects.services.model import Service
from hubfleet.resources import Image

_NOT_CHANGED = "Nothing was changed"


def image_of(deployment: str, name: str, service: Service, site: Site) -> Image:
    """Named by what it is made of. Raises CheckError for a directory that none can be built of."""
    label = f"{deployment}_{name}"
    if service.build is None:
        base = str(service.image)
        # One step, so that what was fetched for it is known as ours, and goes when nothing needs it.
        return Image.of(label, base, f"FROM {base}\nLABEL hubfleet.service={name}\n")
    files, programs = build_folder(service.build, name, site)
    path = service.build / "Dockerfile"
    try:
        dockerfile = files.pop(path.name).decode()
    except UnicodeDecodeError:
        raise CheckError(f"{path} is no text in UTF-8", state=_NOT_CHANGED, remedy="write it in UTF-8") from None
    found = bases(dockerfile)
    if not found or not is_image(found[0]):
        what = f"{path} does not begin with an image of a version"
        raise CheckError(what, state=_NOT_CHANGED, remedy="FROM debian:12.11-slim")
    if loose := [base for base in found if not is_image(base)]:
        what = f"{path}: a later stage is built on {loose[0]}, which is no image of a version"
        raise CheckError(what, state=_NOT_CHANGED, remedy="FROM debian:12.11-slim, or the name of an earlier stage")
    return Image.of(label, found[0], dockerfile, files, programs=programs)
