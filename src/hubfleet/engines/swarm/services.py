"""Makes and removes the services of servers, so that nobody ever has two, whatever the manager answers, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hubfleet.config.effective import Effective
from hubfleet.engines.dockerapi import EngineAway, Refused
from hubfleet.engines.swarm import specification
from hubfleet.engines.swarm.api import NameTaken, SwarmApi
from hubfleet.engines.swarm.board import AGAIN_S, Board
from hubfleet.engines.swarm.draining import closed, open_to
from hubfleet.engines.swarm.kept import Kept
from hubfleet.engines.swarm.places import name_of
from hubfleet.engines.swarm.specification import Server, Settings
from hubfleet.engines.swarm.tasks import cores_of, has_secret, is_over
from hubfleet.launcher.base import StartFailed

PATIENCE_S = 30.0
"""How long a stop waits for a manager that is away, or for a machine; less than the hub waits for the launcher."""


class Services:
    """A start is known by the name of its secret: the service's own name is that of every server of this id."""

    def __init__(self, api: SwarmApi, board: Board, settings: Settings) -> None:
        self._api = api
        self._board = board
        self._settings = settings
        self._kept = Kept(api, settings.layout.hub)
        self._pinned: dict[str, str] = {}

    async def sweep(self) -> None:
        """Remove what the swarm keeps for no service. Raises as `SwarmApi`."""
        await self._kept.sweep()

    async def make(self, secret: str, server: Server, effective: Effective, program: Mapping[str, Any]) -> str:
        """Make the service of a server; returns its id. ``program``: what is in the secret.

        Raises StartFailed when an earlier server of this id does not end, or all machines are drained; and as
        `SwarmApi`.
        """
        name = name_of(self._settings.layout.hub, server.id)
        image = self._settings.image_of(effective)
        given, nodes, held, configs, _ = await asyncio.gather(
            self._as_given(image),
            self._board.nodes(),
            self._kept.secret(secret, server.id, program),
            self._kept.identity(image, server.name, server.owner),
            self._await_earlier(name),
        )
        settings = replace(self._settings, image=given, images={})
        drained = closed(self._settings, nodes)
        cores = min(cores_of(nodes, open_to(self._settings)), default=None)
        body = specification.service(settings, server, effective, held, configs, cores, drained)
        try:
            return await self._api.make_service(body)
        except NameTaken:  # one that a manager has made late, for a launcher that was killed
            await self._await_earlier(name)
        except Refused as refusal:
            if "config" not in str(refusal):
                raise
            self._kept.forget_known()  # somebody has removed them
            configs = await self._kept.identity(image, server.name, server.owner)
            body = specification.service(settings, server, effective, held, configs, cores, drained)
        return await self._api.make_service(body)

    async def _as_given(self, image: str) -> str:
        """An image by the digest that its registry has it under. A machine asks the registry for a tag at each start,
        though it has the image, and waits where that is away; for a digest that it has it asks nobody."""
        if image not in self._pinned:
            pinned = await self._api.pinned(image)
            if pinned == image:
                return image
            self._pinned[image] = pinned
        return self._pinned[image]

    async def _await_earlier(self, name: str) -> None:
        """Remove a server of this name that nobody has stopped; return when none runs any more. Raises StartFailed."""
        if found := await self._api.service(name):
            await self._api.remove_service(found["ID"])
        try:
            await asyncio.wait_for(self._until_over(name, lambda task: True), PATIENCE_S)
        except asyncio.TimeoutError as error:
            why = self._board.problem or "its machine has not said yet that it has ended"
            raise StartFailed(f"your earlier server is still there: {why}. Please try again in a minute") from error

    async def remove(self, name: str, secret: str) -> None:
        """Return when nothing of this start is there any more, or only on machines that are lost. May take for ever."""

        def mine(task: Mapping[str, Any]) -> bool:
            return has_secret(task["Spec"]["ContainerSpec"], secret)

        while True:
            try:
                found = await self._api.service(name)
                if found and has_secret(found["Spec"]["TaskTemplate"]["ContainerSpec"], secret):
                    await self._api.remove_service(found["ID"])
                await self._until_over(name, mine)
                # What a manager that hung makes only now finds its secret gone, and is refused; or keeps it from going.
                if await self._kept.forget_secret(secret):
                    return
            except EngineAway:
                await asyncio.sleep(AGAIN_S)

    async def _until_over(self, name: str, which: Callable[[Mapping[str, Any]], bool]) -> None:
        """Return when none of these tasks of a service runs any more, but on machines that are lost."""
        while True:
            tasks = [task for task in await self._board.tasks(name) if which(task)]
            if all([is_over(task, await self._board.node(task.get("NodeID"))) for task in tasks]):
                return
