"""The locked contents of the environments that hubfleet builds: versions and hashes, no addresses."""

from __future__ import annotations

from pathlib import Path


def lock_text(name: str) -> str:
    """The text of one of this package's files, such as "hub.txt"."""
    return (Path(__file__).parent / name).read_text()
