"""Takes images from a registry, by the engine."""

from __future__ import annotations

from contextlib import suppress

from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Absent, Engine, observed_of
from hubfleet.agent.imagecopy import follow
from hubfleet.agent.registry import Reference
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.imagetaken import ImageTaken


def observe(image: ImageTaken) -> Observed | None:
    return observed_of(_look, image)


def _look(engine: Engine, image: ImageTaken) -> Observed | None:
    found = engine.find(f"/images/{image.reference}/json")
    if found is None:
        return None
    containers = engine.get("/containers/json", all=True)
    return {"id": found["Id"], "users": sum(1 for one in containers if one["ImageID"] == found["Id"])}


def apply(image: ImageTaken, change: Change, progress: Progress) -> None:
    """Killed half way, it begins with what is missing. Raises ApplyError in the engine's words."""
    engine = Engine()
    if change.action == "remove":
        with suppress(Absent):
            engine.call("DELETE", f"/images/{image.reference}")
        return
    repository, tag = image.reference.rsplit(":", 1)
    what = f"taking {repository.rsplit('/', 1)[1]} from {Reference.of(image.reference).registry}"
    follow(engine, "/images/create", {"fromImage": repository, "tag": tag}, image.reference, what, progress)
