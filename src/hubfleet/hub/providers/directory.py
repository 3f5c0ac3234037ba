"""Accounts of a directory (LDAP), whose passwords people type on a page of the hub.

The library waits for answers, so each question is a thread's, with a connection of its own: a directory that hangs must
not hold the hub.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ldap3
from jupyterhub.handlers.login import LoginHandler
from ldap3.core.exceptions import LDAPException
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn
from tornado import web
from traitlets import Unicode

from hubfleet.admission import Person
from hubfleet.hub.providers.admitting import Admitting, Ended
from hubfleet.hub.providers.web import Silent, one_line

LIMIT_S = 10.0
TRIES, PAUSE_S, MOST_NAMES = 10, 60.0, 10_000
_FOR_GOOD = ("entryUUID", "objectGUID")
"""What tells an entry from others for good, where the directory shows it."""


@dataclass(frozen=True)
class Entry:
    """Somebody's. ``name``: as the directory writes it."""

    dn: str
    name: str
    subject: str


class Ldap(Admitting):
    """Asks the directory whether it takes the password, and of which groups somebody is."""

    bind_password = Unicode(help="Of who looks for people.").tag(config=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wrong: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=TRIES))

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        """Somebody whose password the directory takes; None for a wrong one. Raises HTTPError."""
        name, password = str(data.get("username", "")), str(data.get("password", ""))
        if self.test_people.admitted(name):
            return self.test_people.known_by(name, password)
        # Without a password a directory lets anybody in, as nobody.
        if not name or not password or len(name) > 128:
            return None
        tries = self._tried(name.lower())
        try:
            found = await self._in_thread(self._enter, name, password)
        except Silent as error:
            self.log.error("Log-in failed: %s", error)
            raise self.words.silent() from error
        if found is None:
            return None
        tries.clear()
        entry, groups = found
        name = self.normalize_username(entry.name)
        self.check_name(name)
        person = Person(name, entry.subject, groups=frozenset(groups))
        return {"name": name, "auth_state": self.state_of(person)}

    def _tried(self, name: str) -> deque[float]:
        """The times of the last tries with a name, this one the last of them. Raises HTTPError if they are too many.

        It is noted before the password is known to be wrong: many may be sent at the same time.
        """
        now = time.monotonic()
        if len(self._wrong) >= MOST_NAMES:
            recent = {known: tries for known, tries in self._wrong.items() if tries[-1] > now - PAUSE_S}
            self._wrong.clear()
            self._wrong.update(recent)
        tries = self._wrong[name] if name in self._wrong or len(self._wrong) < MOST_NAMES else None
        if tries is None or (len(tries) == TRIES and now - tries[0] < PAUSE_S):
            raise web.HTTPError(429, "Too many wrong passwords. Please wait a minute, then try again.")
        tries.append(now)
        return tries

    async def told_anew(self, user: Any) -> dict[str, Any]:
        """Whether somebody is still there, and in which groups. Nothing new where nobody may look for people."""
        if not self.told["base"]:
            return dict(await user.get_auth_state() or {})
        found = await self._in_thread(self._look, user.name)
        if found is None:
            raise Ended("the directory has no such account")
        entry, groups = found
        return self.state_of(Person(user.name, entry.subject, groups=frozenset(groups)))

    async def _in_thread(self, ask: Any, *arguments: str) -> tuple[Entry, list[str]] | None:
        """Raises Silent where the directory does not answer."""
        try:
            return await asyncio.wait_for(asyncio.to_thread(ask, *arguments), 2 * LIMIT_S)
        except asyncio.TimeoutError:
            raise Silent(f"{self.provider} gave no answer within {2 * LIMIT_S:g} s") from None
        except LDAPException as error:
            raise Silent(f"{self.provider}: {type(error).__name__}: {one_line(str(error))}") from None

    # -- in a thread -------------------------------------------------------------------------------------------------

    def _enter(self, name: str, password: str) -> tuple[Entry, list[str]] | None:
        if self.told["template"]:
            dn = self.told["template"].replace("{username}", escape_rdn(name))
            with self._connection(dn, password) as mine:
                return self._described(mine, self._own(mine, dn, name)) if mine.bound else None
        with self._connection(self.told["bind"], self.bind_password) as asking:
            entry = self._found(asking, name)
            if entry is None:
                return None
            with self._connection(entry.dn, password) as mine:
                return self._described(asking, entry) if mine.bound else None

    def _look(self, name: str) -> tuple[Entry, list[str]] | None:
        with self._connection(self.told["bind"], self.bind_password) as asking:
            entry = self._found(asking, name)
            return self._described(asking, entry) if entry else None

    @contextmanager
    def _connection(self, dn: str | None, password: str) -> Iterator[Any]:
        """Bound as somebody, or not if the password is wrong. Raises LDAPException."""
        # Anew each time: it notes which addresses failed, and would not ask these again.
        server = ldap3.Server(
            self.told["host"],
            port=self.told["port"],
            use_ssl=self.told["encrypted"],
            tls=ldap3.Tls(validate=ssl.CERT_REQUIRED),
            get_info=ldap3.NONE,
            connect_timeout=LIMIT_S,
        )
        connection = ldap3.Connection(
            server,
            user=dn,
            password=password if dn else None,
            receive_timeout=round(LIMIT_S),
            read_only=True,
            auto_referrals=False,  # another server would be told the password
            auto_bind=ldap3.AUTO_BIND_NONE,
        )
        try:
            connection.open()
            if self.told["upgrade"] and not connection.start_tls():
                raise LDAPException("it does not encrypt the connection (StartTLS)")
            connection.bind()
            yield connection
        finally:
            connection.unbind()

    def _found(self, asking: Any, name: str) -> Entry | None:
        """The one entry of a name. Raises LDAPException where one may not look."""
        if not asking.bound:
            raise LDAPException("it does not accept login.ldap.bind with ldap_password")
        attribute = self.told["name"]
        wanted = f"({attribute}={escape_filter_chars(name)})"
        asking.search(self.told["base"], wanted, attributes=[attribute, *_FOR_GOOD], size_limit=2)
        found = [entry for entry in asking.response or () if entry.get("type") == "searchResEntry"]
        if len(found) > 1:
            self.log.warning("Log-in failed: %s has several entries of one name", self.provider)
        return self._entry(found[0], name) if len(found) == 1 else None

    def _own(self, mine: Any, dn: str, name: str) -> Entry:
        """What somebody may see of the own entry; where that is nothing, what was typed."""
        attributes = [self.told["name"], *_FOR_GOOD]
        mine.search(dn, "(objectClass=*)", search_scope=ldap3.BASE, attributes=attributes)
        found = [entry for entry in mine.response or () if entry.get("type") == "searchResEntry"]
        return self._entry(found[0], name) if found else Entry(dn, name, dn.lower())

    def _entry(self, found: Any, name: str) -> Entry:
        attributes, dn = found["attributes"], str(found["dn"])
        given = _texts(attributes.get(self.told["name"]))
        # A directory takes no notice of capitals and spaces: the name is as it is written there.
        written = next((one for one in given if one.lower() == name.lower()), given[0] if given else name)
        lasting = next((text for key in _FOR_GOOD for text in _texts(attributes.get(key))), dn.lower())
        return Entry(dn, written, lasting)

    def _described(self, asking: Any, entry: Entry) -> tuple[Entry, list[str]]:
        if not self.told["groups"]:
            return entry, []
        dn, name = escape_filter_chars(entry.dn), escape_filter_chars(entry.name)
        wanted = f"(|(member={dn})(uniqueMember={dn})(memberUid={name}))"
        asking.search(self.told["groups"], wanted, attributes=["cn"])
        found = [one for one in asking.response or () if one.get("type") == "searchResEntry"]
        return entry, sorted({text for one in found for text in _texts(one["attributes"].get("cn"))})

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """As ever, with JupyterHub's own form."""
        return [("/login", LoginHandler), *super().get_handlers(app)]


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    return [one.hex() if isinstance(one, bytes) else str(one) for one in values]
