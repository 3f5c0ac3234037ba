"""Who keeps homes, as the launcher asks: in its own process, or a service beside it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from hubfleet.config.owner import Owner
from hubfleet.homes.keeper import Archive, Home, Keeper
from hubfleet.homes.making import make_home
from hubfleet.homes.quotas import quotas_of
from hubfleet.homes.settings import Limits


class Homes(Protocol):
    """Keeps homes. Everything raises HomeFailed, in words for the person whose home it is."""

    async def ensure(self, name: str, owner: Owner | None, group: str | None = None) -> Home:
        """See `Keeper.ensure`."""

    async def home(self, name: str) -> Home:
        """See `Keeper.home`; raises NoHome."""

    async def report(self) -> list[Home]:
        """See `Keeper.report`."""

    async def archive(self, name: str) -> Archive:
        """See `Keeper.archive`. May take hours; one that is asked for again meanwhile is the same."""

    async def hold_all(self) -> None:
        """Have limits that have changed be in force for the homes that are there."""

    async def close(self) -> None:
        """Ask no more."""


class Here:
    """Implements `Homes` in this process."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    async def ensure(self, name: str, owner: Owner | None, group: str | None = None) -> Home:
        return await asyncio.to_thread(self._keeper.ensure, name, owner, group)

    async def home(self, name: str) -> Home:
        return await asyncio.to_thread(self._keeper.home, name)

    async def report(self) -> list[Home]:
        return await asyncio.to_thread(self._keeper.report)

    async def archive(self, name: str) -> Archive:
        return await asyncio.to_thread(self._keeper.archive, name)

    async def hold_all(self) -> None:
        await asyncio.to_thread(self._keeper.hold_all)

    async def close(self) -> None:
        """See ``Homes.close``."""


class ServerHomes:
    """The home of each server: kept, or gone with its server, and below ``passing`` until then.

    ``skeleton``: of those that are not kept.
    """

    def __init__(self, kept: Homes | None, passing: Path, skeleton: Path | None = None) -> None:
        self.kept = kept
        self._passing, self._skeleton = passing, skeleton

    async def of(self, server: str, name: str, owner: Owner | None, group: str | None = None) -> Path:
        """For a server of the user ``name``, made if need be. ``group``: see `Keeper.ensure`, where homes are kept.

        Raises HomeFailed and OSError.
        """
        if self.kept is not None:
            return (await self.kept.ensure(name, owner, group)).path
        self._passing.mkdir(mode=0o711, exist_ok=True)
        return await asyncio.to_thread(make_home, self._passing, server, owner, self._skeleton)

    def forget(self, server: str) -> None:
        """A server has ended: with it ends its home, where homes are not kept."""
        if self.kept is None:
            shutil.rmtree(self._passing / server, ignore_errors=True)

    async def close(self) -> None:
        """Ask no more."""
        if self.kept is not None:
            await self.kept.close()


def keeper_of(data: Mapping[str, Any]) -> Keeper:
    """The one that `settings.settings` tells of."""
    skeleton = Path(data["skeleton"]) if data["skeleton"] else None
    quotas = quotas_of(Path(data["place"]), data.get("counted", False), Path(data.get("devices", "/dev")))
    return Keeper(Path(data["place"]), skeleton, quotas, Limits.from_json(data["limits"]), data["minimum"])


def homes_of(data: Mapping[str, Any] | None) -> Homes | None:
    """Who keeps homes, by the launcher's settings; None where they are not kept.

    ``data``: what `settings.settings` gives, for a keeper in this process; or where the service is, see `asked.Line`.
    """
    if data is None:
        return None
    if "place" in data:
        return Here(keeper_of(data))
    # Only here: what it asks with takes its time to be imported.
    from hubfleet.homes.asked import Asked

    return Asked(data)
