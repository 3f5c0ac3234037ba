"""What one container tries on another: "reached", or why not."""

from __future__ import annotations

SERVER = """
import socket, threading
def serve(kind, port):
    link = socket.socket(socket.AF_INET6, kind)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    link.bind(("::", port))
    if kind == socket.SOCK_DGRAM:
        while True:
            link.sendto(b"here", link.recvfrom(99)[1])
    link.listen()
    while True:
        peer = link.accept()[0]
        peer.sendall(b"here")
        peer.close()
ports = [int(port) for port in PORTS.split()]
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    for port in ports:
        threading.Thread(target=serve, args=(kind, port), daemon=True).start()
threading.Event().wait()
"""
"""Answers at these ports, by TCP and UDP, IPv4 and IPv6."""

_CLIENT = """
import json, socket, threading
LIMIT_S = 1.5

def tcp(address, port):
    with socket.create_connection((address, port), LIMIT_S) as link:
        assert link.recv(9) == b"here"

def udp(address, port):
    family, *_, where = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        link.settimeout(LIMIT_S)
        link.sendto(b"there?", where)
        assert link.recv(9) == b"here"

def icmp(address):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as link:
        link.settimeout(LIMIT_S)
        link.sendto(bytes((8, 0, 0xf7, 0xfd, 0, 1, 0, 1)), (address, 0))
        while (answer := link.recvfrom(99))[1][0] != address or answer[0][20] != 0:
            pass

found = {}
def go(name, kind, where):
    try:
        globals()[kind](*where)
        found[name] = "reached"
    except OSError as error:
        found[name] = repr(error)

threads = [threading.Thread(target=go, args=(name, kind, where)) for name, (kind, *where) in WAYS.items()]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(found))
"""

Way = tuple[str, str] | tuple[str, str, int]
"""How, to which address, to which port: ("tcp", "10.0.0.1", 80), ("icmp", "10.0.0.1")."""


def client(ways: dict[str, Way]) -> str:
    """Tries all of them at once; prints what came of each, by name. Who sends ICMP has to be root."""
    return _CLIENT.replace("WAYS", repr(ways))
