"""What builds of images leave in the engine, and who removes it: bases that were fetched, and steps that led nowhere.

A base that was not there before has a second name of ours, by which a later build knows that it may go. It goes when
nothing is built on it any more; so those of what runs, and of generations that one can go back to, stay. What somebody
else brought there, built on it or gave another name stays, too.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Engine
from hubfleet.agent.registry import Reference
from hubfleet.errors import ApplyError
from hubfleet.resources.image import PLACE, REPOSITORY

FETCHED = f"{REPOSITORY}/base"
_LOCK = Path("/run/hubfleet-images.lock")
_NONE = "<none>"


@contextmanager
def building() -> Iterator[None]:
    """Keeps `remove` of others away meanwhile: what a build has come to is a step that leads nowhere yet."""
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def note_base(engine: Engine, base: str) -> None:
    """Note that this image was fetched for a build."""
    found = engine.find(f"/images/{base}/json") or {}
    names = [name for name in _names(found) if Reference.of(name) == Reference.of(base)]
    for name in names:
        repository, tag = _mark(name).split(":")
        engine.call("POST", f"/images/{found['Id']}/tag", None, {"repo": repository, "tag": tag})


def remove(engine: Engine, progress: Progress) -> None:
    """Remove what is of no use any more; not now if anything is being built, for the next one will."""
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for image in engine.get("/images/json", filters={"dangling": ["true"]}):
            if _is_step(engine, image["Id"]):
                progress("removing what an unfinished build has left")
                _remove(engine, image["Id"])
        for image in engine.get("/images/json", filters={"reference": [FETCHED]}):
            if not _is_used(engine, image["Id"]):
                names = _names(engine.find(f"/images/{image['Id']}/json") or {})  # the list has those asked for only
                ours = [name for name in names if _mark(name) in names]
                progress(f"removing image {', '.join(ours)}, which nothing is built on any more")
                for name in [*ours, *(name for name in names if name.startswith(f"{FETCHED}:"))]:
                    _remove(engine, name)


def _mark(name: str) -> str:
    return f"{FETCHED}:{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _names(image: dict[str, Any]) -> list[str]:
    given = [*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())]
    return [name for name in given if _NONE not in name]


def _is_step(engine: Engine, image: str) -> bool:
    """Whether what made an image, that has no name and that nothing is built on, is a step of ours."""
    history = engine.find(f"/images/{image}/history") or []
    return bool(history) and f"{PLACE}/" in history[0].get("CreatedBy", "")


def _is_used(engine: Engine, base: str) -> bool:
    """Whether a container is made from it, or an image that has a name is built on it."""
    if any(container["ImageID"] == base for container in engine.get("/containers/json", all=True)):
        return True
    layers = _layers(engine, base)
    others = (image["Id"] for image in engine.get("/images/json") if _names(image) and image["Id"] != base)
    return any(_layers(engine, other)[: len(layers)] == layers for other in others)


def _layers(engine: Engine, image: str) -> Sequence[str]:
    found = engine.find(f"/images/{image}/json") or {}
    return (found.get("RootFS") or {}).get("Layers") or ()


def _remove(engine: Engine, image: str) -> None:
    with suppress(ApplyError):  # a container is made from it, or it is gone
        engine.call("DELETE", f"/images/{image}")
