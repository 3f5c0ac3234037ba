"""Whether what other machines send arrives here, past every firewall on the way: tried with packets of our own.

Here they are seen where the kernel hands them over, whoever listens at that port, or nobody. So the ports may be in use
or free. Needs root.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Iterable, Sequence

LIMIT_S = 2.0
"""How long is waited for what was sent already."""
_TIMES = 3
"""How often that is sent which may get lost."""
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "esp": socket.IPPROTO_ESP}
_SYN, _ACK = 0x02, 0x10
_ROOM = 4 * 1024**2

Way = tuple[str, str]
_END = b";"


class _Ears:
    """Sockets that get a copy of all that comes in, and what has come with our mark.

    translated: by whoever says that it was sent there, and what: from where it came instead.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._heard: set[Way] = set()
        self.translated: dict[Way, str] = {}
        self._new = threading.Condition()
        self._sockets = {}
        for name, number in _PROTOCOLS.items():
            made = socket.socket(socket.AF_INET, socket.SOCK_RAW, number)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
            made.settimeout(LIMIT_S)
            self._sockets[name] = made
            threading.Thread(target=self._hear, args=(name, made), daemon=True).start()

    def _hear(self, protocol: str, ear: socket.socket) -> None:
        while True:
            try:
                packet = ear.recv(65535)
            except socket.timeout:
                continue
            except OSError:
                return  # closed
            way = _way(protocol, packet, self._mark)
            if way is not None:
                sender = _sender(packet, self._mark)
                with self._new:
                    self._heard.add(way)
                    if sender and sender != way[0]:
                        self.translated[(sender, way[1])] = way[0]
                    self._new.notify_all()

    def missing(self, expected: set[Way]) -> set[Way]:
        """Of those, what has not arrived by the end of the time."""
        with self._new:
            self._new.wait_for(lambda: expected <= self._heard, LIMIT_S)
            return expected - self._heard

    def close(self) -> None:
        for ear in self._sockets.values():
            ear.close()


def _way(protocol: str, packet: bytes, mark: bytes) -> Way | None:
    """From where a packet of ours came, and to what; None for others."""
    begin = (packet[0] & 0x0F) * 4
    source, inner = socket.inet_ntoa(packet[12:16]), packet[begin:]
    if protocol == "tcp":
        port, flags = struct.unpack("!H", inner[2:4])[0], inner[13]
        return (source, f"tcp/{port}") if flags & (_SYN | _ACK) == _SYN else None
    if mark not in inner:
        return None
    return (source, f"udp/{struct.unpack('!H', inner[2:4])[0]}" if protocol == "udp" else protocol)


def _sender(packet: bytes, mark: bytes) -> str:
    """Where a packet of ours says that it was sent; "" for one that does not say, as all of TCP."""
    _, ours, rest = packet.partition(mark + b" ")
    return rest.partition(_END)[0].decode("ascii", "replace") if ours and _END in rest else ""


_ears: list[_Ears] = []
_calling: list[socket.socket] = []


def listen(mark: str) -> None:
    """Begin to listen, for packets with that mark. Raises OSError if the system does not let us."""
    _end()
    _ears.append(_Ears(mark))


def call(mark: str, sender: str, targets: Iterable[Sequence[str]]) -> list[list[str]]:
    """Send one to each address and what of it ("udp/4789"). Returns those that the system here did not send.

    sender: the address by which those that listen know this machine.
    """
    unsent, content = [], f"{mark} {sender}".encode() + _END
    for address, what in targets:
        protocol, _, port = what.partition("/")
        try:
            _send(protocol, address, int(port or 0), content)
        except OSError:
            unsent.append([address, what])
    return unsent


def _send(protocol: str, address: str, port: int, said: bytes) -> None:
    if protocol == "tcp":
        link = socket.socket()
        _calling.append(link)  # its first packet is sent again while it waits
        link.setblocking(False)
        code = link.connect_ex((address, port))
        if code not in (0, errno.EINPROGRESS, errno.ECONNREFUSED):
            raise OSError(code, "")
        return
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_RAW
    content = said if protocol == "udp" else struct.pack("!II", 0x68756266, 1) + said
    with socket.socket(socket.AF_INET, kind, _PROTOCOLS[protocol]) as link:
        for _ in range(_TIMES):
            link.sendto(content, (address, port))


def heard(expected: Iterable[Sequence[str]]) -> list[list[str]]:
    """Of these, by sender and what of this machine, those that have not arrived; with the address from which it came
    instead, where it did. Ends the listening."""
    wanted = {(way[0], way[1]) for way in expected}
    missing, translated = (_ears[0].missing(wanted), dict(_ears[0].translated)) if _ears else (wanted, {})
    _end()
    return sorted([*way, *([translated[way]] if way in translated else [])] for way in missing)


def _end() -> None:
    for ears in _ears:
        ears.close()
    for link in _calling:
        link.close()
    _ears.clear()
    _calling.clear()
