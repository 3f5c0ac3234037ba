"""Images on their way between an engine and a registry: how far they are, and how the engine logs in there."""

from __future__ import annotations

import base64
import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from hubfleet.agent.base import Progress
from hubfleet.agent.docker import Engine
from hubfleet.agent.registry import PUBLIC, Reference
from hubfleet.agent.tools import HEARTBEAT_SECONDS
from hubfleet.errors import ApplyError

LOGINS = Path("/root/.docker/config.json")
"""Where `docker login`, as root, keeps what it was told."""
_PUBLIC_KEY = "https://index.docker.io/v1/"
"""What `docker login` keeps the account of the public registry under."""
_MIB = 1024 * 1024


def follow(engine: Engine, target: str, query: dict[str, Any], reference: str, what: str, progress: Progress) -> None:
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

    Raises ApplyError as `account`.
    """
    found = account(reference)
    given: dict[str, str] = {}
    if found is not None:
        server = _kept_under(Reference.of(reference).registry)
        given = {"username": found[0], "password": found[1], "serveraddress": server}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(given).encode()).decode()}


def _kept_under(registry: str) -> str:
    return _PUBLIC_KEY if registry == PUBLIC else registry


def account(reference: str) -> tuple[str, str] | None:
    """Name and password by which root is logged in to an image's registry; None where nobody is.

    Raises ApplyError where another program keeps them, which only Docker's own command can ask.
    """
    registry = Reference.of(reference).registry
    try:
        known = json.loads(LOGINS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = {}
    except ValueError as error:
        raise ApplyError(f"{LOGINS} cannot be read ({error})", remedy="docker login again, there, as root") from error
    found = known.get("auths", {}).get(_kept_under(registry))
    if found is None:
        return None
    if "auth" not in found:
        raise ApplyError(
            f"the login to {registry} is kept by another program ({known.get('credsStore') or 'a helper'})",
            remedy=f"remove credsStore from {LOGINS} there, then docker login again",
        )
    name, _, password = base64.b64decode(found["auth"]).decode().partition(":")
    return name, password
