"""Takes images from a registry, by the engine."""

from __future__ import annotations

from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Engine, observed_of
from hubfleet.agent.imagecopy import follow
from hubfleet.agent.registry import Reference
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.imagetaken import ImageTaken


def observe(image: ImageTaken) -> Observed | None:
    return observed_of(lambda engine, wanted: engine.image(wanted.reference), image)


def apply(image: ImageTaken, change: Change, progress: Progress) -> None:
    """Killed half way, it begins with what is missing. Raises ApplyError in the engine's words."""
    engine = Engine()
    if change.action == "remove":
        engine.forget_image(image.reference)
        return
    repository, tag = image.reference.rsplit(":", 1)
    what = f"taking {repository.rsplit('/', 1)[1]} from {Reference.of(image.reference).registry}"
    follow(engine, "/images/create", {"fromImage": repository, "tag": tag}, image.reference, what, progress)
