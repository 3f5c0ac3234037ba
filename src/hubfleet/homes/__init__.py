"""Users' home directories: who makes them, who owns which, how much is in them, and how one is put away."""

from __future__ import annotations

HOMES_MARKER = ".hubfleet-homes"
"""A file in the directory of kept homes. Without it the disk is not mounted, and new homes would be lost under it."""
ARCHIVED = ".hubfleet-archived"
"""A directory among the homes, of root only: homes that were put away, and an archive of each."""
PORT = 7448
"""Where the service listens whose homes are on another machine than the hub."""
