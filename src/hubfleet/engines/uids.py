"""Whose a user's files are: as a service says, or an id of this machine's table.

From the table each gets one, never reused, the same after every restart.

One table a machine, shared by its hubs, so that two hubs on it cannot give one id to two people.
"""

from __future__ import annotations

import fcntl
import json
import pwd
from pathlib import Path

from hubfleet.config.effective import Effective
from hubfleet.config.owner import FIRST, LAST, IdRange, Owner
from hubfleet.layout import Layout
from hubfleet.privatefiles import private, write_private

USUAL = IdRange(FIRST, LAST)


class NoIdLeft(RuntimeError):
    """All ids that may be handed out are taken."""


def owner_of(effective: Effective, layout: Layout, system_name: str, ids: IdRange, host_root: str = "") -> Owner:
    """Of a user's files. Raises as `uid_for`."""
    if effective.owner is not None:
        return effective.owner
    number = uid_for(layout.uids, layout.hub, system_name, host_root, ids)
    return Owner(number, number)


def uid_for(table: Path, hub: str, system_name: str, host_root: str = "", ids: IdRange = USUAL) -> int:
    """The id of a person of a hub, handed out on first use. Raises NoIdLeft, or ValueError for a damaged table.

    One that was handed out is kept, also when ``ids`` are others now. The same number serves as the group id.
    ``host_root``: where the machine's files are, for one who is in a container
    and has other accounts.
    """
    table.parent.mkdir(parents=True, exist_ok=True)
    # The lock is a file of its own, for the table is replaced, and a lock on a replaced file guards nothing.
    # Nobody else may open it: whoever can, can hold it.
    with open(table.with_suffix(".lock"), "w", opener=private) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known: dict[str, int] = json.loads(table.read_text()) if table.exists() else {}
        key = f"{hub}/{system_name}"
        if key not in known:
            known[key] = _next_free(table, known, host_root, ids)
            write_private(table, json.dumps(known, indent=1, sort_keys=True))
        return known[key]


def _next_free(table: Path, known: dict[str, int], host_root: str, ids: IdRange) -> int:
    taken = set(known.values()) | {entry.pw_uid for entry in pwd.getpwall()}
    if host_root:
        lines = Path(f"{host_root}/etc/passwd").read_text().splitlines()
        taken |= {int(line.split(":")[2]) for line in lines if line.count(":") == 6}
    # After the last one of these ids: nobody gets what somebody else has had.
    number = max([ids.first - 1, *(one for one in known.values() if ids.first <= one <= ids.last)]) + 1
    while number in taken:
        number += 1
    if number > ids.last:
        raise NoIdLeft(f"all user ids from {ids.first} to {ids.last} are taken (see {table})")
    return number
