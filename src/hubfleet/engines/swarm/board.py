"""What the swarm says of all servers of a hub, asked together: it tells of machines that come and go, not of tasks.

While servers are on their way up or down, these are asked for, all in one question, and often; once a second it is
asked which tasks have ended, which is one short answer for any number of servers that run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from hubfleet.engines.contained import HUB_LABEL, SERVER_LABEL
from hubfleet.engines.dockerapi import EngineAway, Refused
from hubfleet.engines.ending import end
from hubfleet.engines.swarm.api import SwarmApi
from hubfleet.engines.swarm.places import name_of

logger = logging.getLogger("hubfleet.launcher")

FAST_S, SLOW_S = 0.1, 1.0
"""The pauses between two questions: at first, and when nothing happens."""
AGAIN_S = 1.0
"""How soon a manager that was away is asked again."""
ALL_EVERY_S = 60.0
"""How often all tasks are asked for, unless a service was removed: its task is in no other answer."""
_SLOWER = 1.25
_BY_NAME = 150  # more services than that are not asked for by name

Task = dict[str, Any]
Heard = Callable[[Task | None], None]


class Board:
    """Asks while somebody waits or watches, and not otherwise."""

    def __init__(self, api: SwarmApi, hub: str) -> None:
        self._api = api
        self._hub = hub
        self._label = f"{HUB_LABEL}={hub}"
        self._wanted: Counter[str] = Counter()
        self._watched: dict[str, Heard] = {}
        self._nodes: dict[str, dict[str, Any]] = {}
        self._nodes_at = self._ended_at = self._all_at = float("-inf")
        self._heard_of_nodes = 0
        self._wake = asyncio.Event()
        self._looked: asyncio.Future[tuple[frozenset[str], list[Task]]] | None = None
        self._work: list[asyncio.Task[None]] = []
        self._pause = FAST_S
        self._removed = False
        self.problem = ""
        """Why the manager could not be asked the last time; "" when it could."""

    def open(self) -> None:
        """Begin to be there for those who want to know."""
        self._work = [asyncio.create_task(self._run()), asyncio.create_task(self._listen())]

    async def close(self) -> None:
        """Ask no more."""
        await end(self._work)
        self._work = []

    # -- for those who want to know ----------------------------------------------------------------------------------

    async def tasks(self, name: str) -> list[Task]:
        """The tasks of a service as they are from now on, the newest last. Waits for a manager that is away."""
        self._wanted[name] += 1
        if self._wanted[name] == 1:
            self._hurry()
        try:
            while True:
                if self._looked is None:
                    self._looked = asyncio.get_running_loop().create_future()
                names, found = await asyncio.shield(self._looked)
                if name in names:
                    break
        finally:
            # One who comes back for the next look would else find that nobody waits.
            asyncio.get_running_loop().call_later(SLOW_S, self._let_go, name)
        mine = [task for task in found if self._name(task) == name]
        return sorted(mine, key=lambda task: str(task["CreatedAt"]))

    def _name(self, task: Task) -> str:
        labels = task["Spec"]["ContainerSpec"].get("Labels") or {}
        return name_of(self._hub, labels.get(SERVER_LABEL, ""))

    def _let_go(self, name: str) -> None:
        self._wanted[name] -= 1
        if self._wanted[name] <= 0:
            del self._wanted[name]

    def watch(self, task: str, heard: Heard) -> None:
        """Call this with a task that has ended or whose machine is lost, as it is then; with None when it is not known
        any more. It may be called again, until `forget`."""
        self._watched[task] = heard
        self._wake.set()

    def forget(self, task: str) -> None:
        self._watched.pop(task, None)

    async def node(self, identifier: str | None) -> dict[str, Any] | None:
        """A machine, as it was a second ago at most. Raises as `SwarmApi`."""
        if not identifier:
            return None
        if time.monotonic() - self._nodes_at > SLOW_S:
            await self._look_at_nodes()
        return self._nodes.get(identifier)

    async def nodes(self) -> list[dict[str, Any]]:
        """All machines, as they were a second ago at most. Raises as `SwarmApi`."""
        await self.node("any")
        return list(self._nodes.values())

    def known(self) -> list[dict[str, Any]]:
        """All machines, as they were when they were last looked at."""
        return list(self._nodes.values())

    # -- asking ------------------------------------------------------------------------------------------------------

    def _hurry(self) -> None:
        self._pause = FAST_S
        self._wake.set()

    async def _run(self) -> None:
        while True:
            if not self._wanted and not self._watched:
                await self._wake.wait()
            self._wake.clear()
            try:
                await self._look()
                self.problem = ""
            except (EngineAway, Refused) as problem:
                self.problem = str(problem)
                await asyncio.sleep(AGAIN_S)
            except Exception:
                logger.exception("the swarm has answered what is not understood")  # and others still want to know
                await asyncio.sleep(AGAIN_S)
            pause = self._pause if self._wanted else SLOW_S
            self._pause = min(self._pause * _SLOWER, SLOW_S)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    async def _look(self) -> None:
        names = frozenset(self._wanted)
        if names and self._looked is not None and not self._looked.done():
            filters = {"name": sorted(names)} if len(names) <= _BY_NAME else {"label": [self._label]}
            found = await self._api.tasks(filters)
            looked, self._looked = self._looked, None
            looked.set_result((names, found))
        now = time.monotonic()
        if self._watched and now - self._ended_at >= SLOW_S:
            self._ended_at = now
            ended = await self._api.tasks({"label": [self._label], "desired-state": ["shutdown"]})
            self._tell(ended)
        if self._watched and now - self._all_at >= (SLOW_S if self._removed else ALL_EVERY_S):
            self._all_at = now
            before = set(self._watched)
            known = {task["ID"]: task for task in await self._api.tasks({"label": [self._label]})}
            # One that is still to end stays in sight until then.
            self._removed = any(known[one]["DesiredState"] == "remove" for one in before & set(known))
            for identifier in before - set(known):
                if identifier in self._watched:
                    self._watched[identifier](None)

    def _tell(self, ended: list[Task]) -> None:
        for task in ended:
            heard = self._watched.get(task["ID"])
            if heard is not None:
                heard(task)

    async def _look_at_nodes(self) -> None:
        heard = self._heard_of_nodes
        self._nodes = {node["ID"]: node for node in await self._api.nodes()}
        if heard == self._heard_of_nodes:  # or else this may be how they were before
            self._nodes_at = time.monotonic()

    def _forget_nodes(self) -> None:
        self._heard_of_nodes += 1
        self._nodes_at = float("-inf")

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(EngineAway, Refused):
                async for event in self._api.events("node", "service"):
                    self._hear(event)
            await asyncio.sleep(AGAIN_S)
            self._forget_nodes()  # what happened meanwhile is in no event
            self._ended_at = float("-inf")
            self._wake.set()

    def _hear(self, event: Mapping[str, Any]) -> None:
        if event.get("Type") == "node":
            self._forget_nodes()  # it may have been drained
            if "state.new" in event["Actor"]["Attributes"]:
                self._ended_at = float("-inf")
                self._hurry()
        elif event.get("Action") == "remove":
            self._removed = True
