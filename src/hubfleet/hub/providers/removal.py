"""Stops the servers of people who may not enter any more: nobody has to make a request for it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from hubfleet.admission import Rules

LOOK_EVERY_S = 2.0
"""How soon a change of the rules is noticed."""
ALL_EVERY_S = 60.0
"""How soon what the provider tells anew."""


class Removal:
    """Looks after the rules, for an authenticator (`base.Vouched`)."""

    def __init__(self, authenticator: Any) -> None:
        self._authenticator = authenticator
        self._now = asyncio.Event()
        self._stopping: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Go on until the hub ends."""
        self._keep(self._watch())

    def look_now(self) -> None:
        """Do not wait for the next look."""
        self._now.set()

    def _keep(self, doing: Any) -> None:
        task = asyncio.get_running_loop().create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self) -> None:
        seen: Rules | None = None
        last = 0.0
        while True:
            try:
                await asyncio.wait_for(self._now.wait(), LOOK_EVERY_S)
                asked = True
            except asyncio.TimeoutError:
                asked = False
            self._now.clear()
            rules = self._authenticator.rules
            if asked or rules is not seen or time.monotonic() - last > ALL_EVERY_S:
                try:
                    await self._look(rules)
                    seen, last = rules, time.monotonic()
                except Exception:  # whatever it is, the next look tries again
                    self._authenticator.log.exception("Whose servers are to be stopped could not be seen")

    async def _look(self, rules: Rules) -> None:
        if not rules.stop:
            return
        for user in list(self._authenticator.app.users.values()):
            names = [name for name, spawner in user.spawners.items() if spawner.active]
            if not names or self._authenticator.test_people.admitted(user.name):
                continue
            known = await self._authenticator.known_of(user)
            # Of somebody who came in another way, before there was this provider, nothing is known: left alone.
            if known is not None and rules.why_not(known.person) is not None:
                for name in names:
                    if (user.name, name) not in self._stopping:
                        self._stopping.add((user.name, name))
                        self._keep(self._stop(user, name))

    async def _stop(self, user: Any, name: str) -> None:
        """Stop one server, also one that starts or stops at this moment."""
        log, app, spawner = self._authenticator.log, self._authenticator.app, user.spawners[name]
        try:
            for pending in (spawner._spawn_future, getattr(spawner, "_stop_future", None)):
                if pending:
                    await asyncio.wait([pending])
            if spawner.active and not spawner.pending:
                spawner._stop_pending = True
                try:
                    await app.proxy.delete_user(user, name)
                    await user.stop(name)
                finally:
                    spawner._stop_pending = False
                log.warning("Server %r of %s was stopped: it may not enter any more", name, user.name)
        except Exception:  # whatever it is, the next look tries again
            log.exception("Server %r of %s could not be stopped", name, user.name)
        finally:
            self._stopping.discard((user.name, name))
