"""What is kept of a server of a swarm: the names that it was made by, and the very task that became it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubfleet.engines.output import append
from hubfleet.engines.swarm.tasks import has_secret
from hubfleet.launcher.base import Record


def service_of(record: Record) -> str:
    """The name of its service."""
    return str(record.handle["name"])


def is_of(record: Record, task: Mapping[str, Any]) -> bool:
    """Whether the task is of this very start."""
    return has_secret(task["Spec"]["ContainerSpec"], record.handle["secret"])


def known(record: Record, url: str = "", **handle: Any) -> Record:
    """The record with what is known now."""
    same = (record.id, record.user, record.server, record.profile)
    return Record(*same, url or record.url, record.started, record.log, {**record.handle, **handle})


def say(record: Record, words: str) -> None:
    """Into the server's log, beside what the server itself has said."""
    with contextlib.suppress(OSError):
        append(Path(record.log), f"--- {words}\n")
