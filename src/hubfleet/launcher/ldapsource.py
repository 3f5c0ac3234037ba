"""A directory of POSIX accounts (LDAP): ``uidNumber``, ``gidNumber`` and ``homeDirectory`` of one login name.

The library waits for answers, so each question is a thread's, with a connection of its own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.utils.conv import escape_filter_chars

from hubfleet.config.owner import Ldap, is_loopback
from hubfleet.launcher.owners import Answer, Away, Nobody
from hubfleet.launcher.rest import LIMIT_S

_ATTRIBUTES = ("uidNumber", "gidNumber", "homeDirectory")


class LdapSource:
    """Implements ``owners.Source``. ``limit``: seconds."""

    name = "the directory of accounts"

    def __init__(self, settings: Ldap, password: str, limit: float = LIMIT_S) -> None:
        self._settings = settings
        self._password = password
        self._limit = limit
        address = urlsplit(settings.url)
        self._encrypted = address.scheme == "ldaps"
        # A directory on this machine need not encrypt what nobody else can see.
        self._upgrade = not self._encrypted and not is_loopback(address.hostname or "")
        self._server = ldap3.Server(
            address.hostname,
            port=address.port,
            use_ssl=self._encrypted,
            tls=ldap3.Tls(validate=ssl.CERT_REQUIRED),
            get_info=ldap3.NONE,
            connect_timeout=limit,
        )

    async def ask(self, user: str) -> Answer:
        """See ``Source.ask``."""
        try:
            return await asyncio.wait_for(asyncio.to_thread(self._ask, user), self._limit)
        except asyncio.TimeoutError:
            raise Away(f"no answer within {self._limit:g} seconds", slow=True) from None

    async def close(self) -> None:
        """See ``Source.close``."""

    def _ask(self, user: str) -> Answer:
        settings = self._settings
        connection = ldap3.Connection(
            self._server,
            user=settings.bind,
            password=self._password if settings.bind else None,
            receive_timeout=max(1, round(self._limit)),
            read_only=True,
            auto_referrals=False,  # another server would be told the password
        )
        try:
            connection.open()
            if self._upgrade and not connection.start_tls():
                raise Away("it does not encrypt the connection (StartTLS)", ours=True)
            if not connection.bind():
                raise Away(_not_let_in(connection.result), ours=True)
            connection.search(
                settings.base,
                f"(&(objectClass=posixAccount)({settings.name}={escape_filter_chars(user)}))",
                attributes=[settings.name, *_ATTRIBUTES],
                size_limit=2,
            )
            return self._account(connection.result, connection.response or ())
        except LDAPException as error:
            raise Away(f"not reached ({type(error).__name__})") from None
        finally:
            connection.unbind()

    def _account(self, result: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Answer:
        if result["result"] not in (ldap3.core.results.RESULT_SUCCESS, ldap3.core.results.RESULT_SIZE_LIMIT_EXCEEDED):
            raise Away(f"it answered: {result['description']}")
        found = [entry["attributes"] for entry in entries if entry.get("type") == "searchResEntry"]
        if not found:
            raise Nobody("no such account")
        if len(found) > 1:
            raise Nobody("several accounts have this name")
        uid, gid, home = (_first(found[0].get(name)) for name in _ATTRIBUTES)
        return Answer(uid, gid, home)


def _first(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return value[0] if value else None
    return value


def _not_let_in(result: Mapping[str, Any]) -> str:
    return f"it does not accept storage.owner.ldap.bind with owner_password ({result['description']})"
