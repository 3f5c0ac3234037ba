"""What the start of a server in a container has to tell, whether one machine's engine or a swarm starts it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from hubfleet.engines.dockerapi import EngineAway, Refused
from hubfleet.engines.uids import NoIdLeft
from hubfleet.homes.making import HomeFailed
from hubfleet.launcher.base import Record, Spawned, StartFailed
from hubfleet.logfiles import open_log


@contextlib.contextmanager
def plainly(engine: str) -> Iterator[None]:
    """What goes wrong with a start, as StartFailed. ``engine``: who may have refused it."""
    try:
        yield
    except EngineAway as error:
        raise StartFailed(f"{error}. Please try again in a minute") from error
    except Refused as error:
        raise StartFailed(f"{engine} refuses it: {error}") from error
    except HomeFailed as error:
        raise StartFailed(str(error)) from error
    except (OSError, NoIdLeft) as error:
        raise StartFailed(f"the server could not be started: {error}") from error


def note(spawned: Spawned, record: Record) -> None:
    """Tell of a server that exists from now on. Raises StartFailed where that cannot be noted."""
    try:
        spawned(record)
    except OSError as error:
        raise StartFailed(f"the hub's disk does not take its record ({error.strerror})") from error


def begin_log(log: Path) -> None:
    """Of a server, with the moment of its start."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(open_log(log), "w") as output:
        output.write(f"--- server started {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
