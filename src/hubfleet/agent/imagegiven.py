"""Gives images to a registry, by the engine."""

from __future__ import annotations

from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Engine, observed_of
from hubfleet.agent.imagecopy import follow, login
from hubfleet.agent.registry import Reference
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.imagegiven import ImageGiven


def observe(image: ImageGiven) -> Observed | None:
    return observed_of(_look, image)


def _look(engine: Engine, image: ImageGiven) -> Observed | None:
    try:
        found = engine.get(f"/distribution/{image.reference}/json", headers=login(image.reference))
    except ApplyError:  # it is not there, or the registry is not there yet; giving it tells which
        return None
    return {"digest": str(found["Descriptor"]["digest"])}


def apply(image: ImageGiven, change: Change, progress: Progress) -> None:
    """Killed half way, it goes on from what the registry has. Raises ApplyError in the engine's words."""
    engine = Engine()
    repository, tag = image.reference.rsplit(":", 1)
    engine.call("POST", f"/images/{image.tag}/tag", None, {"repo": repository, "tag": tag})
    what = f"giving {image.tag} to {Reference.of(image.reference).registry}"
    follow(engine, f"/images/{repository}/push", {"tag": tag}, image.reference, what, progress)
