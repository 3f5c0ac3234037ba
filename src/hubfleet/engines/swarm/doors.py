"""The door of all servers that start: a TCP port in the fleet's network, where they say that they are there, and up.

A server's first program has a key from the swarm's secret, which is good once: a second task of the same service never
becomes a server. See ``singleuser/enter.py`` for the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from hubfleet import openfiles
from hubfleet.engines.ending import end
from hubfleet.engines.swarm.showing import Bind, Unfit, judge

_LINE_LIMIT = 1 << 16
_TALK_LIMIT_S = 10.0
_AT_ONCE = 8
"""Connections from one address that may stand at the door: users can reach it too."""


class Visit:
    """One server that is expected. ``up`` is done when it has said that it is up, or failed with what is wrong with it.

    ``seen``: the inode of what it must find at these places. ``shown``: what its machine is to show it. ``arrived``: it
    has come to the door.
    """

    def __init__(self, seen: Mapping[str, int], shown: Sequence[Bind] = ()) -> None:
        self.key = secrets.token_urlsafe(32)
        self.up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.arrived = False
        self.seen = seen
        self.shown = shown

    def end(self) -> None:
        """Nobody waits any more."""
        if not self.up.cancel() and not self.up.cancelled():
            self.up.exception()  # it may be that nobody has asked for it


class Doors:
    """Waits for all servers that start."""

    def __init__(self, listen: Callable[[], socket.socket]) -> None:
        self._listen = listen
        self._server: asyncio.Server | None = None
        self._expected: dict[str, Visit] = {}
        self._guests: dict[Visit, asyncio.StreamWriter] = {}
        self._standing: Counter[str] = Counter()
        self._talks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Be there. Raises OSError where the address is not this machine's."""
        if self._server is None:
            self._server = await asyncio.start_server(self._welcome, sock=self._listen(), limit=_LINE_LIMIT)

    async def close(self) -> None:
        """Be there no more. Servers go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for visit in list(self._expected.values()) + list(self._guests):
            self.forget(visit)
        await end(self._talks)

    def expect(self, seen: Mapping[str, int], shown: Sequence[Bind] = ()) -> Visit:
        """A server is about to come. Of what it finds it is told whether it may enter, see `Visit`."""
        visit = Visit(seen, shown)
        self._expected[visit.key] = visit
        return visit

    def forget(self, visit: Visit) -> None:
        """It is up, or will not be: its key opens nothing any more."""
        self._expected.pop(visit.key, None)
        visit.end()
        if (writer := self._guests.pop(visit, None)) is not None:
            writer.close()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(self._received(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _received(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("peername")[0]
        if self._standing[address] >= _AT_ONCE:
            writer.close()
            return
        self._standing[address] += 1
        try:
            with contextlib.suppress(OSError, ValueError, asyncio.TimeoutError, KeyError, TypeError):
                await self._talk(reader, writer)  # whatever goes wrong, its task says why
        finally:
            self._standing[address] -= 1
            if not self._standing[address]:
                del self._standing[address]
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = json.loads(await asyncio.wait_for(reader.readline(), _TALK_LIMIT_S))
        visit = self._expected.pop(said["key"], None)
        if visit is None or visit.up.done():
            return
        self._guests[visit] = writer
        visit.arrived = True
        try:
            for place, inode in visit.seen.items():
                if said["seen"].get(place) != inode:
                    what = f"{place} is another directory on its machine than on the hub's"
                    raise Unfit(f"{what}: is the storage mounted there?")
            judge(visit.shown, said.get("shown", {}))
        except Unfit as unfit:
            visit.up.set_exception(unfit)
            return
        writer.write(b"enter\n")
        if await reader.read(1) and not visit.up.done():
            visit.up.set_result(None)


def tcp() -> socket.socket:
    """A socket in the network that this process is in."""
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def listening(address: str, port: int, made: socket.socket) -> socket.socket:
    """The socket, listening at this place. Raises OSError."""
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(openfiles.BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


async def accepts(url: str, made: socket.socket, limit: float) -> bool:
    """Whether somebody accepts connections there; the socket is closed then."""
    host, _, port = url.rpartition("/")[2].rpartition(":")
    made.setblocking(False)
    with made, contextlib.suppress(OSError, asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(made, (host, int(port))), limit)
        return True
    return False
