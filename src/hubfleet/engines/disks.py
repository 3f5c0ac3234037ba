"""The disk that homes are on, where hubfleet makes one; and limits of homes where nobody could see to them. Pure."""

from __future__ import annotations

from hubfleet.config import Config
from hubfleet.layout import Layout
from hubfleet.resources import Disk

SUFFIX = ".disk"
"""What the file is called that the file system is in, after the directory beside it."""


def disks(config: Config, layout: Layout) -> tuple[Disk, ...]:
    """That of the homes, if one is wanted: of the machine that has them, after the directory and before what is in
    it."""
    homes, place = config.storage.homes, config.homes(layout.homes)
    if homes is None or place is None or homes.disk is None:
        return ()
    return (Disk(str(place), f"{place}{SUFFIX}", int(homes.disk)),)


def problems(config: Config, layout: Layout) -> list[str]:
    """Limits and disks that take root."""
    if layout.privileged:
        return []
    wanted = list(config.all_quotas())
    if config.storage.homes is not None and config.storage.homes.disk is not None:
        wanted.append("storage.homes.disk")
    return [
        f"{config.line(path)}{path}: only root can limit homes, and here all have one owner. "
        f"Try: run hubfleet as root (sudo), or remove {path}"
        for path in wanted
    ]
