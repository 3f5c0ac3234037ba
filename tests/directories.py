"""A directory of accounts with passwords and groups: OpenLDAP's server, on a port of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

from waiting import soon

SETTINGS = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {place}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=example,dc=edu"
rootdn "cn=root,dc=example,dc=edu"
rootpw canary-root
directory {place}/data
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=people,dc=example,dc=edu" by dn="cn=hub,dc=example,dc=edu" read by self read by * auth
access to * by dn="cn=hub,dc=example,dc=edu" read by users read by * none
"""
HEAD = """\
dn: dc=example,dc=edu
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=edu
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=edu
objectClass: organizationalUnit
ou: groups

dn: cn=hub,dc=example,dc=edu
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: hub
userPassword: canary-ldap

"""
BASE, GROUPS, HUB = "ou=people,dc=example,dc=edu", "ou=groups,dc=example,dc=edu", "cn=hub,dc=example,dc=edu"


def password(name: str) -> str:
    """Somebody's, which nothing may tell."""
    return f"canary-of-{name.lower()}"


class Accounts:
    """One that runs. ``people``: names; ``groups``: of each, the names of its members."""

    def __init__(self, place: Path, people: list[str], groups: dict[str, list[str]]) -> None:
        self.place = place
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"ldap://127.0.0.1:{self.port}"
        (place / "data").mkdir(parents=True)
        (place / "slapd.conf").write_text(SETTINGS.format(place=place))
        entries = "".join(
            f"dn: uid={name},{BASE}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n"
            f"userPassword: {password(name)}\n\n"
            for name in people
        )
        for group, members in groups.items():
            own = "".join(f"member: uid={name},{BASE}\n" for name in members)
            entries += f"dn: cn={group},{GROUPS}\nobjectClass: groupOfNames\ncn: {group}\n{own}\n"
        (place / "entries.ldif").write_text(HEAD + entries)
        self._tool("slapadd", "-l", str(place / "entries.ldif"))

    def _tool(self, name: str, *arguments: str) -> None:
        subprocess.run([name, "-f", self.place / "slapd.conf", *arguments], check=True, capture_output=True)

    def change(self, text: str) -> None:
        """Change entries (LDIF), as the directory's own operator."""
        import ldap3
        from ldap3.utils.conv import escape_filter_chars

        assert escape_filter_chars
        connection = ldap3.Connection(
            ldap3.Server("127.0.0.1", self.port), "cn=root,dc=example,dc=edu", "canary-root", auto_bind=True
        )
        kind, dn, *rest = text.split("|")
        if kind == "delete":
            assert connection.delete(dn), connection.result
        else:
            attribute, value = rest
            assert connection.modify(dn, {attribute: [(ldap3.MODIFY_REPLACE, [value])]}), connection.result
        connection.unbind()

    def start(self) -> None:
        """Be there, at the same address as before."""
        self._tool("slapd", "-h", self.url)
        soon(self._answers)

    def _answers(self) -> bool:
        with socket.socket() as way:
            return way.connect_ex(("127.0.0.1", self.port)) == 0 and (self.place / "pid").exists()

    def stop(self) -> None:
        """Be away."""
        if (self.place / "pid").exists():
            os.kill(int((self.place / "pid").read_text()), signal.SIGTERM)
            soon(lambda: not (self.place / "pid").exists())
