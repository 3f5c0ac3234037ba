"""A network namespace with the addresses of a cloud, a site's inner network and the internet, on one cable."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid

PORT = 8000
INTERNET = "203.0.113.5"
NEAR, FAR = "198.51.100.1", "198.51.100.2"
"""The ends of the cable: the machine's, and the namespace's."""
RESOLVER = "10.99.99.5"
PRIVATE = {
    RESOLVER: "10.0.0.0/8",
    "100.64.9.5": "100.64.0.0/10",
    "168.63.129.16": "168.63.129.16",
    "169.254.169.254": "169.254.0.0/16",
    "172.20.99.5": "172.16.0.0/12",
    "192.0.0.192": "192.0.0.0/24",
    "192.168.99.5": "192.168.0.0/16",
    "198.18.9.5": "198.18.0.0/15",
    "240.0.0.5": "224.0.0.0/3",  # with multicast, its neighbour
}
"""Addresses that answer there, and which part of the rules is about each."""

SERVER = """
import socket, socketserver, sys, threading
address, port, resolver = sys.argv[1:]
names = socketserver.UDPServer((resolver, 53 if resolver != "127.0.0.1" else 0), None)
class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        data, link = self.request
        end = data.index(b"\\0", 12) + 5
        record = bytes.fromhex("c00c000100010000000a0004") + bytes([203, 0, 113, 7])
        found = data[end - 4 : end - 2] == bytes([0, 1])
        head = data[:2] + bytes.fromhex("8180" "0001") + (b"\\0\\1" if found else b"\\0\\0") + bytes(4)
        link.sendto(head + data[12:end] + (record if found else b""), self.client_address)
names.RequestHandlerClass = Answer
threading.Thread(target=names.serve_forever, daemon=True).start()
class Hello(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"hello")
        while self.request.recv(9):
            self.request.sendall(b"again")
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer.daemon_threads = True
socketserver.ThreadingTCPServer.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
server = socketserver.ThreadingTCPServer((address, int(port)), Hello)
print("ready", flush=True)
server.serve_forever()
"""
"""Greets on a TCP port of an address, and is a resolver (on another address) to which every name is 203.0.113.7."""

PROBE = """
import json, socket, sys, threading
reached = []
def probe(address, port):
    try:
        with socket.create_connection((address, port), timeout=1.5) as link:
            if link.recv(5) == b"hello":
                reached.append(address)
    except OSError:
        pass
asked = [threading.Thread(target=probe, args=(a, int(p))) for a, p in json.loads(sys.argv[1])]
[one.start() for one in asked]
[one.join() for one in asked]
print(json.dumps(sorted(reached)))
"""


def probe_argument(targets: dict[str, int]) -> str:
    """What PROBE takes: addresses with their ports."""
    return json.dumps(list(targets.items()))


def server(address: str, port: int, resolver: str = "127.0.0.1", within: str = "") -> subprocess.Popen[bytes]:
    """SERVER, ready to answer: of this machine, or within a network namespace. The caller kills it."""
    where = ["ip", "netns", "exec", within] if within else []
    command = [*where, sys.executable, "-c", SERVER, address, str(port), resolver]
    started = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert started.stdout
    assert started.stdout.readline() == b"ready\n"
    return started


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class Elsewhere:
    """The namespace, its cable and its server. ``end`` takes all of it away."""

    def __init__(self) -> None:
        short = uuid.uuid4().hex[:6]
        self.name, self.cable = f"hf-else-{short}", f"hfe{short}"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "far", "netns", self.name)
        run("ip", "addr", "add", f"{NEAR}/30", "dev", self.cable)
        run("ip", "link", "set", self.cable, "up")
        for device in ("lo", "far"):
            self.inside("ip", "link", "set", device, "up")
        self.inside("ip", "addr", "add", f"{FAR}/30", "dev", "far")
        self.inside("ip", "route", "add", "default", "via", NEAR)
        for address in (INTERNET, *PRIVATE):
            self.inside("ip", "addr", "add", f"{address}/32", "dev", "lo")
            run("ip", "route", "add", f"{address}/32", "via", FAR, "dev", self.cable)
        self.server = server("0.0.0.0", PORT, RESOLVER, within=self.name)

    def inside(self, *command: str) -> str:
        return run("ip", "netns", "exec", self.name, *command)

    def end(self) -> None:
        self.server.kill()
        self.server.communicate()
        run("ip", "link", "delete", self.cable)
        run("ip", "netns", "delete", self.name)
