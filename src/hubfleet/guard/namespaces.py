"""Namespaces of networks: which there are, and what is in them."""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

BRIDGE = "br0"
"""What the engine calls the bridge of a network that spans machines, in the network's namespace."""
_NAME = re.compile(r"\d+-[0-9a-z]+")  # containers' have names without a dash
_CLONE_NEWNET = 0x40000000
_ADDRESS, _MASK = 0x8915, 0x891B  # ioctl: SIOCGIFADDR, SIOCGIFNETMASK
_NETFILTER, _ASK, _ANSWER = 12, (10 << 8) | 16, (10 << 8) | 15  # nf_tables: get and new generation
_HEADER = struct.Struct("=IHHII")
_libc = ctypes.CDLL(None, use_errno=True)


def candidates(folder: Path) -> Iterator[Path]:
    """Those of networks that span machines. None where the engine has not made any yet."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    yield from (folder / name for name in names if _NAME.fullmatch(name))


@contextmanager
def inside(path: Path) -> Iterator[int]:
    """This thread, and the processes it starts, are in that network namespace for the body; its number.

    Raises OSError if it is gone, or no namespace: a mount that is not seen here.
    """
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        other = os.open(path, os.O_RDONLY)
        try:
            _enter(other)
            number = os.fstat(other).st_ino
        finally:
            os.close(other)
        try:
            yield number
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def bridged() -> IPv4Network | None:
    """The subnet of the bridge in the namespace that we are in; None if it has none (yet)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            address, mask = (
                socket.inet_ntoa(fcntl.ioctl(asking, what, struct.pack("256s", BRIDGE.encode()))[20:24])
                for what in (_ADDRESS, _MASK)
            )
        except OSError:
            return None
    return IPv4Interface(f"{address}/{mask}").network


def generation() -> int:
    """A number that changes whenever anybody changes any rule in the namespace that we are in."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as link:
        link.settimeout(5)
        body = struct.pack("=BBH", 0, 0, 0)
        link.send(_HEADER.pack(_HEADER.size + len(body), _ASK, 1, 1, 0) + body)
        answer = link.recv(4096)
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind != _ANSWER:
        raise OSError(f"the kernel's rules have no generation (answer {kind})")
    (number,) = struct.unpack_from("!I", answer, _HEADER.size + len(body) + 4)
    return int(number)
