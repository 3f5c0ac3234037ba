"""A directory that other machines mount by NFS."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import ClassVar

from hubfleet.errors import CheckError
from hubfleet.resources.base import Change, Observed, Resource

PORT = 2049
"""Where every server of NFS since version 4 listens, at TCP. It needs no other."""
OPTIONS = ("rw", "sync", "root_squash", "no_subtree_check", "sec=sys", "secure")
"""What a machine may: write, with an answer when it is on the disk; and as root no more than anybody."""
_WEAK = "no_root_squash"
_MOUNTED = "mountpoint"
"""Nothing is exported while nothing is mounted there: in the empty directory below no file would be found again."""
VERSION = "4.2"
SETTINGS = """\
# Written by hubfleet, which replaces it.
[nfsd]
vers2=n
vers3=n
threads=64
"""
"""Of a server that hubfleet has installed: no version that needs further ports, and enough hands for a class."""
STOPS = "servers whose homes are mounted from here can neither read nor save until they are started again"


@dataclass(frozen=True)
class Export(Resource):
    """A directory of this machine that others may mount, each from its own address and nobody else.

    name:    of the hub.
    path:    the directory, which must be there.
    clients: IPv4 addresses of the machines that may. Raises ValueError for anything else, such as a name or a `*`.
    mounted: a disk of its own belongs there (see `Disk`), and without it nothing is exported.

    The kernel's server is installed if there is none, and then speaks NFS since version 4 only; one that is there is
    kept as it is, whoever set it up.

    Absent: no file of ours. Observed keys: installed; ours (hubfleet has set it up); running; boots (it is started with
    the machine); versions (those it speaks, as the kernel has them); file (text of our file); served (by address, the
    options in force for the path); others (what somebody else's files say of the path, of one around it or inside, as
    `file: path client(options)`); closed (the first directory on the way that strangers may not enter, or ""); kernel
    (whether it has a server of NFS; None where that cannot be seen).
    """

    kind: ClassVar[str] = "export"
    keyed_by: ClassVar[str] = "name"
    volatile: ClassVar[frozenset[str]] = frozenset({"kernel"})

    name: str
    path: str
    clients: tuple[str, ...]
    mounted: bool = False

    def __post_init__(self) -> None:
        for client in self.clients:
            IPv4Address(client)
        if not self.clients:
            raise ValueError("an export to nobody is one to everybody")

    @property
    def title(self) -> str:
        return f"export of {self.path} by NFS"

    @property
    def options(self) -> tuple[str, ...]:
        """With a number of its own: what machines have mounted is the same after the disk was found another way."""
        number = hashlib.sha256(f"{self.name}:{self.path}".encode()).hexdigest()[:32]
        return (*OPTIONS, *((_MOUNTED,) if self.mounted else ()), f"fsid={number}")

    @property
    def text(self) -> str:
        """The file, as `exports(5)` has it."""
        allowed = " ".join(f"{client}({','.join(self.options)})" for client in sorted(self.clients))
        return f'# Written by hubfleet, which replaces it.\n"{self.path}" {allowed}\n'

    def diff(self, observed: Observed | None) -> Change | None:
        """Raises CheckError where the directory would be open to others too, or could not be mounted."""
        machines = tuple(f"may be mounted by {client}, as its users only" for client in sorted(self.clients))
        machines += ("is not exported while its disk is not mounted",) if self.mounted else ()
        if observed is None:
            return Change(self, "create", ("the kernel's server of NFS is set up", *machines))
        self._refuse(observed)
        lines = [] if observed["installed"] else ["nfs-kernel-server is installed, for NFS 4 only"]
        if observed["file"] != self.text or set(observed["served"]) != set(self.clients):
            lines += machines
        elif any(set(self.needed) - set(options) or _WEAK in options for options in observed["served"].values()):
            lines.append("its options are put right")
        if not observed["running"] or (observed["ours"] and "+3" in observed["versions"]):
            lines.append("the server is started")
        elif f"+{VERSION}" not in observed["versions"]:
            lines.append(f"the server speaks NFS {VERSION}")
        if not observed["boots"]:
            lines.append("the server is started with the machine")
        if not lines:
            return None
        return Change(self, "create" if not observed["file"] else "update", tuple(lines))

    @property
    def needed(self) -> tuple[str, ...]:
        """The options without which it must not be in force."""
        return tuple(one for one in self.options if one != "sec=sys" and not one.startswith("fsid="))

    def _refuse(self, observed: Observed) -> None:
        if observed["kernel"] is False:
            raise CheckError(
                "this machine's kernel has no server of NFS, and homes are to be shared by one",
                state="It was left as it is",
                remedy="apt install linux-image-amd64 and reboot, or another machine with role storage",
            )
        if observed["others"]:
            raise CheckError(
                f"homes below {self.path} are open to others: {observed['others'][0]}",
                state="It was left as it is",
                remedy=f"take that out, or choose another path for homes; hubfleet exports {self.path} by itself",
            )
        if observed["closed"]:
            raise CheckError(
                f"{observed['closed']} is closed to everybody but its owner, so that nothing in it can be mounted",
                state="It was left as it is",
                remedy=f"chmod o+x {observed['closed']}, or another path for homes",
            )

    def removal(self, observed: Observed | None) -> Change | None:
        if observed is None or not observed["file"]:
            return None
        return Change(self, "remove", ("no longer part of the configuration",), STOPS)
