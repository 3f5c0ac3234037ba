"""Gives images to a registry, and takes them from it, by the engine. It is told how to log in where somebody has."""

from __future__ import annotations

import base64
import json
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Absent, Engine, observed_of
from hubfleet.agent.registry import Reference
from hubfleet.agent.tools import HEARTBEAT_SECONDS
from hubfleet.errors import ApplyError
from hubfleet.resources.base import Change, Observed
from hubfleet.resources.imagecopy import ImageGiven, ImageTaken

LOGINS = Path("/root/.docker/config.json")
"""Where `docker login`, as root, keeps what it was told."""
_MIB = 1024 * 1024


def observe_given(image: ImageGiven) -> Observed | None:
    return observed_of(_look_given, image)


def _look_given(engine: Engine, image: ImageGiven) -> Observed | None:
    try:
        found = engine.get(f"/distribution/{image.reference}/json", headers=login(image.reference))
    except ApplyError:  # it is not there, or the registry is not there yet; giving it tells which
        return None
    return {"digest": str(found["Descriptor"]["digest"])}


def observe_taken(image: ImageTaken) -> Observed | None:
    return observed_of(_look_taken, image)


def _look_taken(engine: Engine, image: ImageTaken) -> Observed | None:
    found = engine.find(f"/images/{image.reference}/json")
    if found is None:
        return None
    containers = engine.get("/containers/json", all=True)
    return {"id": found["Id"], "users": sum(1 for one in containers if one["ImageID"] == found["Id"])}


def give(image: ImageGiven, change: Change, progress: Progress) -> None:
    """Killed half way, it goes on from what the registry has. Raises ApplyError in the engine's words."""
    engine = Engine()
    repository, tag = image.reference.rsplit(":", 1)
    engine.call("POST", f"/images/{image.tag}/tag", None, {"repo": repository, "tag": tag})
    what = f"giving {image.tag} to {Reference.of(image.reference).registry}"
    _follow(engine, f"/images/{repository}/push", {"tag": tag}, image.reference, what, progress)


def take(image: ImageTaken, change: Change, progress: Progress) -> None:
    """Killed half way, it begins with what is missing. Raises ApplyError in the engine's words."""
    engine = Engine()
    if change.action == "remove":
        with suppress(Absent):
            engine.call("DELETE", f"/images/{image.reference}")
        return
    repository, tag = image.reference.rsplit(":", 1)
    what = f"taking {repository.rsplit('/', 1)[1]} from {Reference.of(image.reference).registry}"
    _follow(engine, "/images/create", {"fromImage": repository, "tag": tag}, image.reference, what, progress)


def _follow(engine: Engine, target: str, query: dict[str, Any], reference: str, what: str, progress: Progress) -> None:
    """Start it, tell how far it is, and raise what the engine says when it fails."""
    layers: dict[str, tuple[int, int]] = {}
    told, started = 0.0, time.monotonic()
    progress(what)
    with closing(engine.stream(target, b"", query, HEARTBEAT_SECONDS, login(reference))) as messages:
        for message in messages:
            if message is not None:
                if "error" in message:
                    raise ApplyError(f"{what}: {message['error']}", state="Nothing was switched over")
                detail = message.get("progressDetail") or {}
                if detail.get("total"):
                    layers[str(message.get("id"))] = (int(detail["current"]), int(detail["total"]))
            now = time.monotonic()
            if now - told >= 1:
                told = now
                done, total = (sum(found) // _MIB for found in zip(*layers.values())) if layers else (0, 0)
                size = f"{min(done, total)} of {total} MB, " if total else ""
                progress(f"{what} ({size}{now - started:.0f} s)")


def login(reference: str) -> dict[str, str]:
    """The header with name and password for a registry, as `docker login` has kept them; the engine wants one always.

    Raises ApplyError where another program keeps them, which only Docker's own command can ask.
    """
    registry = Reference.of(reference).registry
    try:
        known = json.loads(LOGINS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = {}
    except ValueError as error:
        raise ApplyError(f"{LOGINS} cannot be read ({error})", remedy="docker login again, there, as root") from error
    found = known.get("auths", {}).get(registry)
    if found is None:
        return {"X-Registry-Auth": base64.urlsafe_b64encode(b"{}").decode()}
    if "auth" not in found:
        raise ApplyError(
            f"the login to {registry} is kept by another program ({known.get('credsStore') or 'a helper'})",
            remedy=f"remove credsStore from {LOGINS} there, then docker login again",
        )
    name, _, password = base64.b64decode(found["auth"]).decode().partition(":")
    given = {"username": name, "password": password, "serveraddress": registry}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(given).encode()).decode()}
