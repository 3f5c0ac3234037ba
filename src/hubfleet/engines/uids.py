"""User ids for the people of a hub: one each, never reused, the same after every restart.

One table a machine, shared by its hubs, so that two hubs on it cannot give one id to two people.
"""

from __future__ import annotations

import fcntl
import json
import pwd
from pathlib import Path

from hubfleet.privatefiles import private, write_private

# Above every account a distribution makes (< 65536), below the ranges that user namespaces take (from 100000).
FIRST, LAST = 70_000, 99_999


class NoIdLeft(RuntimeError):
    """All ids between FIRST and LAST are taken."""


def uid_for(table: Path, hub: str, system_name: str, host_root: str = "") -> int:
    """The id of a person of a hub, handed out on first use. Raises NoIdLeft, or ValueError for a damaged table.

    The same number serves as the group id. ``host_root``: where the machine's files are, for one who is in a container
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
            known[key] = _next_free(table, known, host_root)
            write_private(table, json.dumps(known, indent=1, sort_keys=True))
        return known[key]


def _next_free(table: Path, known: dict[str, int], host_root: str) -> int:
    taken = set(known.values()) | {entry.pw_uid for entry in pwd.getpwall()}
    if host_root:
        lines = Path(f"{host_root}/etc/passwd").read_text().splitlines()
        taken |= {int(line.split(":")[2]) for line in lines if line.count(":") == 6}
    number = max([FIRST - 1, *known.values()]) + 1
    while number in taken:
        number += 1
    if number > LAST:
        raise NoIdLeft(f"all user ids from {FIRST} to {LAST} are taken (see {table})")
    return number
