"""Who owns a user's files, where a service knows: asked at each start, remembered for when it is away.

What is remembered also guards: a user whose id changes would find files of somebody else's, so that is refused.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hubfleet.config.owner import Owner, OwnerOptions, usable, usable_home
from hubfleet.launcher.base import StartFailed
from hubfleet.privatefiles import write_private
from hubfleet.units import Duration

log = logging.getLogger("hubfleet.launcher")

AWAY_S = 30.0
"""For so long after a service did not answer in time, it is not waited for again by whose id is known."""
AT_ONCE = 16
"""Questions that a service is asked at once."""
NOTED_S = 600.0
"""How exact the time of a service's last answer is kept."""

_ADMINISTRATOR = "an administrator has to look at it"


class Nobody(Exception):
    """The service has answered, and there is no such account. The text says what it said; for the log."""


class Away(Exception):
    """The service has not answered, or not in a form to be relied on. The text says why; it holds no secret.

    ``ours``: by a mistake of the hub's settings. ``slow``: it was waited for.
    """

    def __init__(self, why: str, *, ours: bool = False, slow: bool = False) -> None:
        super().__init__(why)
        self.ours, self.slow = ours, slow


@dataclass(frozen=True)
class Answer:
    """What a service says of an account, not yet looked at."""

    uid: object
    gid: object
    home: object


class Source(Protocol):
    """A service that knows accounts."""

    name: str
    """What people call it."""

    async def ask(self, user: str) -> Answer:
        """Of one user. Raises Nobody and Away; takes a limited time."""

    async def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True)
class Known:
    """What a service said of a user, and when (seconds since 1970)."""

    uid: int
    gid: int
    home: str | None
    seen: float


class Owners:
    """Finds the owner of a user's files. ``notes``: the file of what is known, which only root can read."""

    def __init__(self, options: OwnerOptions, source: Source | None, notes: Path) -> None:
        self._options = options
        self._source = source
        self._notes = notes
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._away_until = 0.0
        self._known = _read(notes) if source else {}

    async def close(self) -> None:
        """Let go of the service."""
        if self._source is not None:
            await self._source.close()

    async def of(self, user: str) -> Owner | None:
        """The owner of a user's files; None where the engine is to hand out an id.

        Raises StartFailed where nobody is to own them: no such account, an id that must not be, no answer.
        """
        options = self._options
        if options.uid is not None:
            return Owner(options.uid, options.gid or options.uid)
        if self._source is None:
            return None
        known = self._known.get(user)
        try:
            answer = await self._ask(self._source, user, known)
        except Nobody as problem:
            log.error("%s: %s does not know them: %s", user, self._source.name, problem)
            raise StartFailed(f"{self._source.name} has no account for {user}; {_ADMINISTRATOR}") from problem
        except Away as problem:
            return self._remembered(self._source, user, known, problem)
        return self._accepted(self._source, user, known, answer)

    async def _ask(self, source: Source, user: str, known: Known | None) -> Answer:
        async with self._turns:
            if known is not None and time.monotonic() < self._away_until:
                raise Away("it did not answer a moment ago")
            try:
                return await source.ask(user)
            except Away as problem:
                if problem.slow:
                    self._away_until = time.monotonic() + AWAY_S
                raise

    def _remembered(self, source: Source, user: str, known: Known | None, problem: Away) -> Owner:
        """What was known before the service went away."""
        tell = log.error if problem.ours else log.warning
        if known is None:
            tell("%s: cannot be started, and is not known from before: %s: %s", user, source.name, problem)
            hope = _ADMINISTRATOR if problem.ours else "please try again in a few minutes"
            raise StartFailed(f"{source.name} cannot be asked now who you are; {hope}")
        age = Duration(max(0, int(time.time() - known.seen)))
        if age > self._options.remember:
            tell("%s: what is known is %s old, which is too old: %s: %s", user, age, source.name, problem)
            raise StartFailed(f"{source.name} has been away for too long; {_ADMINISTRATOR}")
        tell("%s: user id %d is used, as known for %s: %s: %s", user, known.uid, age, source.name, problem)
        return self._checked(source, user, known.uid, known.gid, known.home)

    def _accepted(self, source: Source, user: str, known: Known | None, answer: Answer) -> Owner:
        """An answer that does not contradict what is known; noted."""
        gid = self._options.gid if self._options.gid is not None else answer.gid
        owner = self._checked(source, user, answer.uid, answer.uid if gid is None else gid, answer.home)
        if known is not None and known.uid != owner.uid:
            log.error(
                "%s: refused: %s says user id %d, and it was %d. If that is right: change the owner of their files, "
                "take them out of %s, and restart the launcher",
                *(user, source.name, owner.uid, known.uid, self._notes),
            )
            what = f"{source.name} says that your user id is {owner.uid}, and your files belong to {known.uid}"
            raise StartFailed(f"{what}; {_ADMINISTRATOR}")
        other = next((name for name, one in self._known.items() if one.uid == owner.uid and name != user), None)
        if other is not None:
            log.error(
                "%s: refused: %s says user id %d, which is %s's. If %s has left, take them out of %s and restart the "
                "launcher",
                *(user, source.name, owner.uid, other, other, self._notes),
            )
            raise StartFailed(f"{source.name} gives you the user id of somebody else; {_ADMINISTRATOR}")
        self._note(user, owner, known)
        return owner

    def _checked(self, source: Source, user: str, uid: object, gid: object, home: object) -> Owner:
        """The ids, if they may be given to a user's files."""
        minimum = self._options.minimum
        for what, number in (("user id", _number(uid)), ("group id", _number(gid))):
            if number is None:
                log.error("%s: refused: %s gives them no %s", user, source.name, what)
                raise StartFailed(f"{source.name} has no {what} for {user}; {_ADMINISTRATOR}")
            if not usable(number, minimum):
                log.error(
                    "%s: refused: %s gives them %s %d, and %d is the least allowed (storage.owner.minimum)",
                    *(user, source.name, what, number, minimum),
                )
                raise StartFailed(f"{source.name} gives you {what} {number}, which no user may have; {_ADMINISTRATOR}")
        found, group = _number(uid), _number(gid)
        assert found is not None
        assert group is not None
        return Owner(found, group, usable_home(home))

    def _note(self, user: str, owner: Owner, known: Known | None) -> None:
        """Remember it. Raises StartFailed if nothing was known and the disk is full: what guards has to be kept."""
        now = time.time()
        new = Known(owner.uid, owner.gid, owner.home, now)
        if known is not None and dataclasses.replace(known, seen=now) == new and 0 <= now - known.seen < NOTED_S:
            return
        after = {**self._known, user: new}
        text = json.dumps({name: dataclasses.asdict(one) for name, one in sorted(after.items())}, indent=1)
        try:
            write_private(self._notes, text)
        except OSError as error:
            if known is None:
                raise StartFailed(f"the hub's disk does not take whose files are yours ({error.strerror})") from error
            log.warning("%s: not noted: %s", user, error.strerror)
        self._known = after


def _number(value: object) -> int | None:
    """A whole number, also one that a service writes as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read(notes: Path) -> dict[str, Known]:
    """What is known. Raises ValueError for a damaged file: without it nobody could say whose id has changed."""
    if not notes.exists():
        return {}
    try:
        told: Mapping[str, Mapping[str, object]] = json.loads(notes.read_text())
        return {name: Known(**one) for name, one in told.items()}  # type: ignore[arg-type]
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{notes} is damaged ({error}). Try: put back a copy, or remove it") from error
