"""How many files a process may have open, and how many may wait at its door: services of many people need many.

A person who starts a server takes the hub and the launcher a few connections each. Shells and systemd give a process
1024 open files for the sake of programs that would fail with more; ours do not, users' may.
"""

from __future__ import annotations

import resource

USUAL = resource.getrlimit(resource.RLIMIT_NOFILE)
"""The limits that this process was started with: wanted, at most."""

ENOUGH = 65_536

BACKLOG = 4096
"""Connections that may wait to be accepted. The system may allow fewer (``net.core.somaxconn``)."""


def raise_limit() -> None:
    """Let this process have as many open as it may, or as are enough."""
    wanted, most = USUAL
    enough = ENOUGH if most == resource.RLIM_INFINITY else min(most, ENOUGH)
    if wanted != resource.RLIM_INFINITY and wanted < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, most))
