"""What passes between the guests, as one sees it who is on the wire."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter

from guests import Guest, Guests

_ROOM = 16 * 1024**2
_PAUSE_S = 0.2
_RECEIVE_FORCED = 33  # SO_RCVBUFFORCE, which this module has not
_IP, _TCP, _UDP, _ESP = b"\x08\x00", 6, 17, 50


class Wire:
    """Looks at each frame between guests while it is entered.

    ``word``: what is looked for. ``clear``: in how many frames it was found.
    """

    def __init__(self, guests: Guests, word: bytes) -> None:
        self.word, self.clear = word, 0
        self._frames: Counter[tuple[frozenset[str], str]] = Counter()
        group, _, port = guests.group.partition(":")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _RECEIVE_FORCED, _ROOM)
        self._socket.bind((group, int(port)))
        joined = struct.pack("4s4s", socket.inet_aton(group), socket.inet_aton("127.0.0.1"))
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        self._socket.settimeout(_PAUSE_S)
        self._ending = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Wire:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._looking.join()
        self._socket.close()

    def between(self, one: Guest, other: Guest, kind: str) -> int:
        """How many frames passed between the two. ``kind``: esp, udp/PORT or tcp/PORT, of the lower of both ports."""
        return self._frames[frozenset((one.address, other.address)), kind]

    def _look(self) -> None:
        while not self._ending.is_set():
            try:
                frame = self._socket.recv(65536)
            except TimeoutError:
                continue
            self.clear += self.word in frame
            if frame[12:14] == _IP:
                ends = frozenset(socket.inet_ntoa(frame[at : at + 4]) for at in (26, 30))
                self._frames[ends, _kind(frame)] += 1


def _kind(frame: bytes) -> str:
    protocol, begin = frame[23], 14 + (frame[14] & 15) * 4
    if protocol == _ESP:
        return "esp"
    if protocol not in (_TCP, _UDP):
        return str(protocol)
    source, target = struct.unpack_from("!HH", frame, begin)
    # A sender of VXLAN has any port, and a lower one now and then.
    return f"udp/{target}" if protocol == _UDP else f"tcp/{min(source, target)}"
