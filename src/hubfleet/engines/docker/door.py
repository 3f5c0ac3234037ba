"""The door of a server that starts: a socket in its run directory, where its first program comes for what it is to be.

So the hub's secrets are in nobody's view: not in the container's description, not on a command line, on no disk. The
connection stays with the server, which says on it when it is up. See ``singleuser/enter.py`` for the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hubfleet.engines.places import Place
from hubfleet.launcher.base import StartFailed
from hubfleet.unixhttp import peer_uid

_LINE_LIMIT = 1 << 20


class Door:
    """Waits for one server. ``up`` is done when that has said that it is up, or failed with what is wrong with it.

    ``program``: argument list and environment, as ``enter.py`` takes it. ``places``: what has to be in sight inside.
    """

    def __init__(self, path: Path, uid: int, program: Mapping[str, Any], places: Sequence[Place]) -> None:
        self.up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._path = path
        self._uid = uid
        self._program = program
        self._places = places
        self._server: asyncio.Server | None = None
        self._guest: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Be there for the server. Its directory is not yet the user's. Raises OSError."""
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.bind(str(self._path))
            self._path.chmod(0o600)
            os.chown(self._path, self._uid, self._uid)
            self._server = await asyncio.start_unix_server(self._welcome, sock=listening, limit=_LINE_LIMIT)
        except BaseException:
            listening.close()
            raise

    async def close(self) -> None:
        """Be there no more."""
        if not self.up.cancel() and not self.up.cancelled():
            self.up.exception()  # it may be that nobody has asked for it
        if self._guest is not None:
            self._guest.close()
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        if self._guest is not None or peer_uid(connection) != self._uid:
            writer.close()
            return
        self._guest = writer
        try:
            await self._talk(reader, writer)
        except (OSError, ValueError):
            pass  # it has ended in the middle, and its container says why
        except StartFailed as problem:
            if not self.up.done():
                self.up.set_exception(problem)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _say(writer, {"look": [place.target for place in self._places]})
        seen = json.loads(await reader.readline())
        for place in self._places:
            # Between our look at it and the engine's, a user may have put a link in its place.
            if seen[place.target] != list(place.identity):
                raise StartFailed(f"{place.source} has become another place while the server started")
        _say(writer, self._program)
        if await reader.read(1) and not self.up.done():
            self.up.set_result(None)


def _say(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    writer.write(json.dumps(message).encode() + b"\n")
