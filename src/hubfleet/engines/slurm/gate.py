"""The gate by which a job and its hub reach each other: an SSH account that can do nothing else. Pure but for new keys.

``reverse``, the usual direction: the job connects to a sshd on the hub's machine, which listens there on one port of
the loopback for it, and may let it open the hub's API. ``forward``, for clusters whose nodes cannot connect out: the
hub connects to the login node, with a key that may open the ports of servers on nodes and nothing else.

Each thing that must not be is refused twice where OpenSSH has two ways: by the configuration, and by the line of the
key, so that a mistake in one of them opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

LOOPBACK = "127.0.0.1"
ALIVE_S, ALIVE_MISSED = 5, 3
"""After this many questions without an answer a connection is dead, and its port free for the next one."""
NOTHING = "/bin/false"

_NOWHERE = f"{LOOPBACK}:1"  # "none" makes a key's line invalid; nobody listens there, and only root could
_PUBLIC = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{40,200}={0,2}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
_SOURCE = re.compile(r"[0-9a-fA-F.:]+(/\d{1,3})?", re.ASCII)
_NOTE = re.compile(r"[A-Za-z0-9_.@-]{1,192}", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9_@+=,./-]*", re.ASCII)
_LEAST, _MOST = 1024, 65535


@dataclass(frozen=True)
class Key:
    """A key pair for one server: ``private`` goes to its job only."""

    private: str
    public: str

    def __repr__(self) -> str:
        return f"Key({self.public!r})"


def new_key() -> Key:
    """Made for each start, and thrown away with its server."""
    made = Ed25519PrivateKey.generate()
    private = made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return Key(private, made.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


@dataclass(frozen=True)
class Place:
    """A TCP port of a host."""

    host: str
    port: int

    def __str__(self) -> str:
        if not _HOST.fullmatch(self.host) or isinstance(self.port, bool) or not 0 < self.port <= _MOST:
            raise ValueError(f"{self.host!r}, port {self.port!r} is no place to connect to")
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Gate:
    """The sshd on the hub's machine. ``account`` is the one that jobs come as; it needs no shell and no password.

    ``api``: where the hub's API listens, when jobs reach it by the tunnel; None when they have another way.
    """

    account: str
    port: int
    host_key: Path
    keys: Path
    api: Place | None = None
    address: str = "0.0.0.0"


# -- reverse: the job connects to the hub's machine ------------------------------------------------------------------


def line(key: str, port: int, api: Place | None = None, note: str = "", sources: Iterable[str] = ()) -> str:
    """The line that lets in the job with this public key: to be reached at this port of the loopback, and no more.

    ``note``: whose it is. ``sources``: networks that it may come from; any, where there are none. Raises ValueError.
    """
    if isinstance(port, bool) or not _LEAST <= port <= _MOST:
        raise ValueError(f"{port!r} is no port for a server")
    return _line(line_options(port, api, sources), key, note)


def line_options(port: int, api: Place | None = None, sources: Iterable[str] = ()) -> list[str]:
    """What stands before the key."""
    return [
        "restrict",
        "port-forwarding",
        f'command="{NOTHING}"',
        f'permitlisten="{LOOPBACK}:{port}"',
        f'permitopen="{api or _NOWHERE}"',
        *_from(sources),
    ]


def keys_file(lines: Iterable[str]) -> str:
    """The file of all lines. A program of the hub's writes it; the account that jobs come as can only read it."""
    return "".join(f"{one}\n" for one in sorted(lines))


def sshd_options(gate: Gate) -> dict[str, str]:
    """The whole configuration of that sshd, by keyword."""
    if not _ACCOUNT.fullmatch(gate.account):
        raise ValueError(f"an account cannot be called {gate.account!r}")
    for path in (gate.host_key, gate.keys):
        if not _PATH.fullmatch(str(path)):
            raise ValueError(f"{path} cannot be written into sshd's configuration")
    return {
        "Port": str(gate.port),
        "ListenAddress": gate.address if _SOURCE.fullmatch(gate.address) else str(Place(gate.address, gate.port)),
        "HostKey": str(gate.host_key),
        "PidFile": "none",
        # Who may come: one account, by keys of this one file.
        "AllowUsers": gate.account,
        "AuthenticationMethods": "publickey",
        "AuthorizedKeysFile": str(gate.keys),
        "AuthorizedKeysCommand": "none",
        "TrustedUserCAKeys": "none",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "HostbasedAuthentication": "no",
        "PermitRootLogin": "no",
        "PermitEmptyPasswords": "no",
        "UsePAM": "no",
        "StrictModes": "yes",
        # What may be done: a port of the loopback is listened on.
        "AllowTcpForwarding": "yes" if gate.api else "remote",
        "PermitOpen": str(gate.api) if gate.api else "none",
        "GatewayPorts": "no",
        "AllowStreamLocalForwarding": "no",  # for sockets there is no list of what is permitted
        "AllowAgentForwarding": "no",
        "X11Forwarding": "no",
        "PermitTunnel": "no",
        "PermitTTY": "no",
        "PermitUserRC": "no",
        "PermitUserEnvironment": "no",
        "ForceCommand": NOTHING,
        "MaxSessions": "0",
        # A class comes at once, and a network that was away is back at once.
        "MaxStartups": "100:30:300",
        "LoginGraceTime": "20",
        "ClientAliveInterval": str(ALIVE_S),
        "ClientAliveCountMax": str(ALIVE_MISSED),
        "TCPKeepAlive": "yes",
        "UseDNS": "no",
        "LogLevel": "VERBOSE",
    }


def sshd_config(gate: Gate) -> str:
    """The file. Raises ValueError for what cannot be written into it."""
    return "".join(f"{keyword} {value}\n" for keyword, value in sshd_options(gate).items())


# -- forward: the hub connects to the login node ---------------------------------------------------------------------


def forward_line(key: str, servers: Iterable[Place], note: str = "", sources: Iterable[str] = ()) -> str:
    """The line for an account on the login node by which the hub reaches these servers, and nothing else.

    Its sshd is the site's, so all that is refused is refused by this line. Raises ValueError.
    """
    opened = [f'permitopen="{place}"' for place in servers] or [f'permitopen="{_NOWHERE}"']
    options = ["restrict", "port-forwarding", f'command="{NOTHING}"', f'permitlisten="{_NOWHERE}"', *opened]
    return _line([*options, *_from(sources)], key, note)


def _from(sources: Iterable[str]) -> list[str]:
    networks = list(sources)
    for one in networks:
        if not _SOURCE.fullmatch(one):
            raise ValueError(f"{one!r} is no network")
    return [f'from="{",".join(networks)}"'] if networks else []


def _line(options: Iterable[str], key: str, note: str) -> str:
    if not _PUBLIC.fullmatch(key):
        raise ValueError("this is no public key of the kind that is used here (ssh-ed25519)")
    if note and not _NOTE.fullmatch(note):
        raise ValueError(f"{note!r} cannot be written beside a key")
    return " ".join([",".join(options), key, *([note] if note else [])])
