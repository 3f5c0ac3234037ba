"""The accounts that a hub's own processes run as, and what a user's server sees of its user's."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from hubfleet.config.owner import Owner

IDENTITY = ("/etc/passwd", "/etc/group")
"""What an image has of its own, and a user's server with its user's line first."""


@dataclass(frozen=True)
class Accounts:
    """Names of the accounts of hub, proxy and edge; empty if started by an ordinary user, who then owns everything."""

    hub: str
    proxy: str
    edge: str


def accounts_of(hub: str, privileged: bool) -> Accounts:
    """A set of accounts a hub: two hubs on a machine cannot read each other's databases."""
    if not privileged:
        return Accounts("", "", "")
    plain = re.fullmatch(r"[a-z0-9-]{1,20}", hub) is not None
    word = hub if plain else f"{re.sub(r'[^a-z0-9]', '-', hub)[:11]}-{hashlib.sha256(hub.encode()).hexdigest()[:8]}"
    return Accounts(f"hubfleet-{word}", f"hubproxy-{word}", f"hubedge-{word}")


def own_lines(name: str, owner: Owner) -> dict[str, str]:
    """The line of a user in each file of `IDENTITY`."""
    lines = (f"{name}:x:{owner.uid}:{owner.gid}::/home/{name}:/bin/bash\n", f"{name}:x:{owner.gid}:\n")
    return dict(zip(IDENTITY, lines, strict=True))
