"""The people of a load test: made by the hub itself, so that nobody needs a token that opens real people's servers.

The machine's operator asks for them. They get names that nobody else can have, a password and a token each, and are
let in past the list of names for a limited time. Which names are theirs is noted on disk before the first of them is
made: what the note does not name is never deleted, and what a killed load test left behind is known for certain.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from pathlib import Path

from jupyterhub import orm
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from hubfleet.names import MOST_TEST_PEOPLE, TEST_PREFIX

LONGEST_S = 24 * 3600


class TestPeople:
    """Names of the people of the load test that runs, or that was broken off. At most one at a time."""

    __test__ = False  # pytest takes the name for a collection of tests

    def __init__(self, note: Path) -> None:
        self._note = note
        known = json.loads(note.read_text()) if note.is_file() else {}
        self.names: frozenset[str] = frozenset(known.get("names", ()))
        self._until = float(known.get("until", 0))
        self._digest = str(known.get("digest", ""))

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def admitted(self, name: str) -> bool:
        """Whether this is one of them and their time is not over."""
        return name in self.names and time.time() < self._until

    def begin(self, names: list[str], seconds: float) -> None:
        """Note them. Called before they are made."""
        until = time.time() + seconds
        self._note.write_text(json.dumps({"names": names, "until": until}))
        self.names, self._until = frozenset(names), until

    def let_in(self, password: str) -> None:
        """Note the password that they share, where a provider vouches for everybody else. It cannot be guessed."""
        self._digest = _digest(password)
        self._note.write_text(json.dumps({"names": sorted(self.names), "until": self._until, "digest": self._digest}))

    def known_by(self, name: str, password: str) -> str | None:
        """The name, if it is one of theirs and this their password, in their time."""
        right = hmac.compare_digest(self._digest, _digest(password))
        return name if right and self._digest and self.admitted(name) else None

    def end(self) -> None:
        """Forget them. Called when none of them is left."""
        self._note.unlink(missing_ok=True)
        self.names, self._until, self._digest = frozenset(), 0.0, ""


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


class TestPeopleAPI(APIHandler):
    """Begin and end a load test. Only for the operator of the machine, who is the one with hubfleet's own token."""

    __test__ = False

    @needs_scope("admin:users")
    async def get(self) -> None:
        """Whose names are noted."""
        self.write({"names": sorted(self.authenticator.test_people.names)})

    @needs_scope("admin:users")
    async def post(self) -> None:
        """Make people; answers with their names and tokens, and the password they share."""
        self._operator_only()
        body = self.get_json_body() or {}
        count, seconds = body.get("people"), body.get("seconds")
        if not isinstance(count, int) or not 0 < count <= MOST_TEST_PEOPLE:
            raise web.HTTPError(400, f"a load test has 1 to {MOST_TEST_PEOPLE} people")
        if not isinstance(seconds, int) or not 0 < seconds <= LONGEST_S:
            raise web.HTTPError(400, f"a load test lasts 1 to {LONGEST_S} seconds")
        test_people = self.authenticator.test_people
        if test_people.names:
            raise web.HTTPError(409, "a load test runs, or was broken off")
        names = self._free_names(count)
        test_people.begin(names, seconds)
        password = await self.authenticator.add_test_people(names)
        people = []
        for name in names:
            user = self.user_from_username(name)
            token = user.new_api_token(note="load test", expires_in=seconds)
            people.append({"name": name, "token": token, "password": password})
        self.db.commit()
        self.write({"people": people})

    @needs_scope("admin:users")
    async def delete(self) -> None:
        """Forget the load test, once its people are deleted."""
        self._operator_only()
        left = [name for name in sorted(self.authenticator.test_people.names) if self.find_user(name) is not None]
        if left:
            raise web.HTTPError(409, f"{len(left)} of its people are still there, first {left[0]}")
        self.authenticator.remove_test_people()
        self.set_status(204)

    def _operator_only(self) -> None:
        if not isinstance(self.current_user, orm.Service):
            raise web.HTTPError(403, "not for this account")

    def _free_names(self, count: int) -> list[str]:
        """The same names each time, less those that somebody had before they were kept for load tests.

        The same, because each name uses up a user id of the machine for good.
        """
        candidates = (f"{TEST_PREFIX}{number:04}" for number in range(1, 10_000))
        free = (name for name in candidates if not self._taken(name))
        return list(itertools.islice(free, count))

    def _taken(self, name: str) -> bool:
        return self.find_user(name) is not None or self.authenticator.user_exists(name)


HANDLERS = [("/api/hubfleet/loadtest", TestPeopleAPI)]
