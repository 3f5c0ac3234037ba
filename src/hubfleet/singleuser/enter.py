"""The first program of a server in a container: asks the launcher what to become, and becomes it.

``python -I -m hubfleet_singleuser.enter SOCKET``. What comes over the socket (the hub's tokens are in it) is on no
command line, in no description of the container and on no disk. Standard library only. The other side is
``engines/docker/door.py``.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn


def enter(path: str) -> NoReturn:
    """Become the program that the launcher names. Raises OSError or ValueError when that does not go."""
    door = socket.socket(socket.AF_UNIX)
    door.connect(path)
    with door.makefile("rw", encoding="utf-8") as lines:
        seen = {place: _identity(place) for place in json.loads(lines.readline())["look"]}
        lines.write(json.dumps(seen) + "\n")
        lines.flush()
        wanted: dict[str, Any] = json.loads(lines.readline())
    # Over the image's own variables; its PATH stays, behind the environment's.
    environment = {**os.environ, **wanted["environment"]}
    environment["PATH"] = os.pathsep.join([os.path.dirname(wanted["argv"][0]), os.environ.get("PATH", os.defpath)])
    environment["JUPYTER_CONFIG_PATH"] = str(Path(__file__).parent)
    environment["SHELL"] = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    door.set_inheritable(True)
    environment["HUBFLEET_READY"] = str(door.fileno())  # the server says on it that it is up
    server = str(Path(__file__).with_name("server.py"))
    os.execve(sys.executable, [sys.executable, server, *wanted["argv"]], environment)


def _identity(place: str) -> tuple[int, int]:
    found = os.stat(place)
    return found.st_dev, found.st_ino


if __name__ == "__main__":
    try:
        enter(sys.argv[1])
    except (OSError, ValueError) as error:
        sys.exit(f"the server could not be entered: {error}")
