"""Who of those that somebody vouches for may enter, whose a name is, and how long that holds.

The rules are in a file (`hubfleet.admission`); the rest is what was told last of a person. It is asked again now and
then beside people's requests, never within one: a provider that is away disturbs nobody who is logged in. Only what a
server is to have by a group waits for it, for a while.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jupyterhub.auth import Authenticator
from tornado import web
from tornado.httpclient import HTTPClientError
from traitlets import Dict, Unicode

from hubfleet.admission import BLOCKED, Person, Rules
from hubfleet.hub.providers.claims import Claims
from hubfleet.hub.providers.removal import Removal
from hubfleet.hub.providers.web import Silent
from hubfleet.hub.providers.words import Words
from hubfleet.hub.testpeople import TestPeople
from hubfleet.names import TEST_PREFIX, valid_login

STATE = "hubfleet"
"""The key of ours in what JupyterHub keeps of a person, encrypted."""
ASK_ANEW_S = 60.0
"""How long a provider that gave no answer is left alone at most."""
GROUPS_WAIT_S = 10.0
"""How long somebody's groups are waited for at most, where what was told of them is too old. Then that holds."""


class Ended(Exception):
    """The provider takes back what it said: the person's token is no good any more."""


class Over(Silent):
    """Somebody's token is over, and cannot be renewed without a log-in. What was told last holds."""


@dataclass
class Known:
    """What is known of somebody who is logged in. ``asked``: when the provider told it, in seconds of `time.time`.

    ``ended``: whether it has taken it back.
    """

    person: Person
    asked: float
    ended: bool = False


class Admitting(Authenticator):
    """To be put before another authenticator, which knows who somebody is."""

    told = Dict(help="What hubfleet told of the provider.").tag(config=True)
    rules_file = Unicode(help="File with the rules; they are read again when it changes.").tag(config=True)
    claims_file = Unicode(help="File that notes whose a name is.").tag(config=True)
    test_people_note = Unicode(help="File that notes the people of a load test.").tag(config=True)

    app: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.test_people = TestPeople(Path(self.test_people_note))
        self.claims = Claims(Path(self.claims_file))
        self.words = Words(self.told["title"], self.told["callback"])
        self.known: dict[str, Known] = {}
        self._rules, self._rules_stamp, self._rules_trouble = Rules(), (0, 0, 0), ""
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._removal: Removal | None = None

    # -- what each provider has of its own -----------------------------------------------------------------------------

    @property
    def provider(self) -> str:
        """What tells the provider from others, for good."""
        return str(self.told["provider"])

    async def told_anew(self, user: Any) -> dict[str, Any]:
        """What is to be kept of somebody from now on, asked of the provider. Raises Ended, Silent, HTTPError."""
        raise NotImplementedError

    def state_of(self, person: Person) -> dict[str, Any]:
        """What is kept of a person, in a part of its own."""
        return {STATE: {"provider": self.provider, "got": time.time(), "person": person.to_json()}}

    def check_name(self, name: str) -> None:
        """Raises HTTPError for a name that nobody can have here."""
        if not valid_login(name) or name.startswith(TEST_PREFIX):
            self.log.warning("Log-in failed: %s tells a name that cannot be one here: %r", self.provider, name)
            raise self.words.name(name)

    # -- the rules -----------------------------------------------------------------------------------------------------

    @property
    def rules(self) -> Rules:
        """Those of the file as it is now. While it cannot be read: those of before, at first nobody's."""
        try:
            found = Path(self.rules_file).stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp != self._rules_stamp:
                self._rules = Rules.from_text(Path(self.rules_file).read_text())
                self._rules_stamp, self._rules_trouble = stamp, ""
                self.log.info("Rules of who may enter were read")
        except (OSError, ValueError) as error:
            if str(error) != self._rules_trouble:
                self._rules_trouble = str(error)
                self.log.warning("The rules of who may enter cannot be read, so those of before hold: %s", error)
        return self._rules

    def check_allow_config(self) -> None:
        """Nothing to say: hubfleet refuses a provider without rules."""

    def check_blocked_users(self, username: str, authentication: Any) -> bool:
        """All is decided in `check_allowed`, in one order."""
        return True

    async def check_allowed(self, username: str, auth_model: Any) -> bool:
        """Whether somebody may enter. Raises HTTPError with plain words if not."""
        if self.test_people.admitted(username):
            return True
        person = _kept(auth_model["auth_state"], self.provider) if auth_model and auth_model["auth_state"] else None
        if person is None:
            return False
        reason = self.rules.why_not(person)
        if reason is not None:
            self.log.warning("Not let in: %s (%s at %s): %s", username, person.subject, self.provider, reason)
            raise self.words.refused(username, blocked=reason == BLOCKED)
        return True

    # -- logging in ----------------------------------------------------------------------------------------------------

    async def run_post_auth_hook(self, handler: Any, auth_model: Any) -> Any:
        """As in JupyterHub; somebody who may enter gets the name, unless it is another's. Raises HTTPError."""
        person = _kept(auth_model["auth_state"] or {}, self.provider)
        if person is not None:
            if not self.claims.claim(self.provider, person.name, person.subject):
                self.log.warning("Not let in: the name %s is not %s's", person.name, person.subject)
                raise self.words.taken(person.name)
            self.known[person.name] = Known(person, time.time())
        return await super().run_post_auth_hook(handler, auth_model)

    # -- while people are logged in ------------------------------------------------------------------------------------

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> bool:
        """Whether somebody may go on: by the rules of now, and what the provider told last. Waits for nobody."""
        if self.test_people.admitted(user.name):
            return True
        known = await self.known_of(user)
        if known is None or known.ended:
            return False
        if self.rules.why_not(known.person) is not None:
            if self._removal is not None:
                self._removal.look_now()
            return False
        self._asked_anew(user, known)
        return True

    def _asked_anew(self, user: Any, known: Known) -> asyncio.Task[None] | None:
        """The question to the provider that is on its way; None if what it told is not too old."""
        if user.name not in self._asking and time.time() - known.asked > self.told["recheck_s"]:
            task = asyncio.get_running_loop().create_task(self._ask(user, known))
            self._asking[user.name] = task
            task.add_done_callback(lambda _: self._asking.pop(user.name, None))
        return self._asking.get(user.name)

    async def known_of(self, user: Any) -> Known | None:
        """What is known of a person; None for somebody who never came in by this provider."""
        if user.name not in self.known:
            state = await user.get_auth_state()
            person = _kept(state or {}, self.provider)
            if person is None or state is None:
                return None
            self.known.setdefault(user.name, Known(person, float(state[STATE]["got"])))
        return self.known[user.name]

    async def groups_of(self, user: Any) -> frozenset[str]:
        """The groups of the provider that somebody is in, as it told last; it is asked again if that is too old."""
        known = None if self.test_people.admitted(user.name) else await self.known_of(user)
        asking = self._asked_anew(user, known) if known and not known.ended else None
        if asking:
            await asyncio.wait([asking], timeout=GROUPS_WAIT_S)
        return known.person.groups if known and not known.ended else frozenset()

    async def _ask(self, user: Any, known: Known) -> None:
        """Ask the provider once more, and keep what it says."""
        began = time.time()
        try:
            # What is kept is changed with the lock only: an older token must not take the place of a newer one.
            async with self._locks[user.name]:
                state = await self.told_anew(user)
                person = _kept(state, self.provider)
                if person is None or person.subject != known.person.subject:
                    raise Ended("it is somebody else's now")
                # A name that was changed there is another person's here: this one keeps the old until the next log-in.
                known.person, known.asked = replace(person, name=user.name), time.time()
                state[STATE]["person"] = known.person.to_json()
                now = await user.get_auth_state() or {}
                if now.get(STATE, {}).get("got", 0.0) < began:  # or the person has logged in meanwhile
                    await user.save_auth_state(state)
        except Ended as error:
            self.log.warning("%s has to log in again: %s", user.name, error)
            known.ended = True
        except Over as error:
            self.log.debug("What is known of %s holds: %s", user.name, error)
            known.asked = time.time()
        except (Silent, HTTPClientError, web.HTTPError) as error:
            if isinstance(error, web.HTTPError) and error.status_code == 403:
                # The provider answered, and whoever has this account could not log in any more.
                self.log.warning("%s has to log in again: %s", user.name, error)
                known.ended = True
                return
            self.log.warning("What is known of %s holds, for now: %s", user.name, error)
            known.asked = time.time() - max(0.0, self.told["recheck_s"] - ASK_ANEW_S)

    # -- people of load tests, and what JupyterHub asks ----------------------------------------------------------------

    def user_exists(self, name: str) -> bool:
        """Whether somebody may have files under a name."""
        return name in self.claims.names(self.provider)

    async def add_test_people(self, names: list[str]) -> str:
        """Let the people of a load test in by a password, which is returned: on the page of the log-in, as ever."""
        password = secrets.token_urlsafe(32)
        self.test_people.let_in(password)
        return password

    def remove_test_people(self) -> None:
        """Forget them, so that there can be others of their names."""
        self.test_people.end()

    async def delete_user(self, user: Any) -> None:
        """JupyterHub stops the default server of somebody it deletes; the named ones are stopped here."""
        self.known.pop(user.name, None)
        for name, spawner in user.spawners.items():
            if spawner.active:
                await user.stop(name)

    async def pre_spawn_start(self, user: Any, spawner: Any) -> None:
        """Nothing: what the provider gave is not shown to servers by the way."""

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """As in the other authenticator; from here on the hub looks whose servers are to be stopped."""
        self.app = app
        self._removal = Removal(self)
        self._removal.begin()
        return list(super().get_handlers(app))


def _kept(state: dict[str, Any], provider: str) -> Person | None:
    """The person in what JupyterHub keeps, if this provider told it."""
    with suppress(KeyError, TypeError):
        if state[STATE]["provider"] == provider:
            return Person.from_json(state[STATE]["person"])
    return None
