"""Who owns a user's files: the settings, and what they lead to."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import PlainValidator, model_validator

from hubfleet.config.fields import AS_TEXT, BadValue, Form, Line, PathBeside
from hubfleet.config.section import Section, setting
from hubfleet.names import has_control
from hubfleet.units import Duration, parse_duration

FIRST, LAST = 70_000, 99_999
"""Above every account a distribution makes (< 65536), below the ranges that user namespaces take (from 100000)."""
MINIMUM = 1000
"""Below are a distribution's own accounts."""
HIGHEST = 2**31 - 1
_NOBODY = (65_534, 65_535)
SERVICES = ("tas", "ldap", "command")


@dataclass(frozen=True)
class Owner:
    """The user id and group id that somebody's files and processes have.

    ``home``: somebody's place on the site's file systems, such as "01234/ada", where a service knows one.
    """

    uid: int
    gid: int
    home: str | None = None


def usable(number: int, minimum: int) -> bool:
    """Whether an id may be given to a user's files."""
    return minimum <= number <= HIGHEST and number not in _NOBODY


def usable_home(text: object) -> str | None:
    """A home as services tell it, if nothing but one directory can come of it in a path; else None."""
    if not isinstance(text, str) or has_control(text) or ":" in text or "{" in text:
        return None
    parts = text.strip("/").split("/")
    # An empty one would be everybody's.
    return None if any(part in ("", ".", "..") for part in parts) else "/".join(parts)


@dataclass(frozen=True)
class IdRange:
    """Ids from the first to the last. `str()` gives the form of the file, "70000-99999"."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def _range(raw: object) -> IdRange:
    if isinstance(raw, IdRange):
        return raw
    found = re.fullmatch(r"(\d{1,10})\s*-\s*(\d{1,10})", raw if isinstance(raw, str) else "", re.ASCII)
    if not found:
        raise BadValue(f"`{raw}` is not a range of ids", f"{FIRST}-{LAST}")
    first, last = int(found[1]), int(found[2])
    if not first < last <= HIGHEST:
        raise BadValue(f"`{raw}` holds no ids", f"{FIRST}-{LAST}")
    if any(first <= number <= last for number in _NOBODY):
        raise BadValue(f"`{raw}` holds {_NOBODY[0]}, which is nobody's", f"{FIRST}-{LAST}")
    return IdRange(first, last)


def _id(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise BadValue(f"`{raw}` is not an id", "a number such as 1000")
    if raw == 0:
        raise BadValue("`0` is root, who may do everything", "a number such as 1000")
    if not usable(raw, 1):
        raise BadValue(f"`{raw}` cannot be anybody's id", "a number such as 1000")
    return raw


def service_url(*schemes: str, example: str, variables: tuple[str, ...] = ()) -> PlainValidator:
    """For the address of a service that is told a secret: encrypted, unless it is on this machine."""
    return PlainValidator(service_address(*schemes, example=example, variables=variables))


def service_address(*schemes: str, example: str, variables: tuple[str, ...] = ()) -> Callable[[object], str]:
    """The same as a function, which raises BadValue."""

    def check(raw: object) -> str:
        text = raw if isinstance(raw, str) else ""
        plain = re.sub(r"\{(\w+)\}", lambda found: "x" if found[1] in variables else found[0], text)
        try:
            parts = urlsplit(plain)
            sound = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            parts, sound = urlsplit(""), False
        if "@" in parts.netloc:
            # A password may stand there: not repeated.
            raise BadValue("an address holds no name or password", "take out what is before the `@`")
        odd = has_control(text) or any(letter in plain for letter in " {}#")
        if not sound or parts.scheme not in schemes or odd:
            raise BadValue(f"`{text or raw}` is not the address of such a service", example)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise BadValue(f"`{text}` would send a secret unencrypted", f"https://{text.partition('://')[2]}")
        return text.rstrip("/")

    return check


def is_loopback(host: str) -> bool:
    """Whether a host is the machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _attribute(raw: object) -> str:
    if isinstance(raw, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", raw, re.ASCII):
        return raw
    raise BadValue(f"`{raw}` is not an attribute", "uid")


Attribute = Annotated[str, PlainValidator(_attribute), Form("attribute")]
Id = Annotated[int, PlainValidator(_id), Form("id", ("integer",))]
IdRangeText = Annotated[IdRange, PlainValidator(_range), AS_TEXT, Form("first-last")]
Time = Annotated[Duration, PlainValidator(parse_duration), AS_TEXT, Form("length of time", ("string", "integer"))]
TasUrl = Annotated[str, service_url("https", "http", example="https://tas.example.edu/api/v1"), Form("https address")]
LdapUrl = Annotated[str, service_url("ldaps", "ldap", example="ldaps://ldap.example.edu"), Form("ldaps address")]


class Tas(Section):
    """An accounting service that is asked by REST, as TAS is: `GET <url>/users/username/<name>`."""

    url: TasUrl = setting(..., "Its address, up to `/users`.", "https://tas.example.edu/api/v1")
    account: Line = setting(..., "The role account that the hub asks with.", "hub-role")


class Ldap(Section):
    """A directory of POSIX accounts."""

    url: LdapUrl = setting(
        ..., "Its address. With `ldap://` the connection is encrypted by StartTLS.", "ldaps://ldap.example.edu"
    )
    base: Line = setting(..., "Where the accounts are.", "ou=people,dc=example,dc=edu")
    bind: Line | None = setting(None, "Who asks. Default: nobody (anonymous).", "cn=hub,ou=services,dc=example,dc=edu")
    name: Attribute = setting("uid", "The attribute with the login name.", "sAMAccountName")


class OwnerOptions(Section):
    """Who owns a user's files: at most one of `uid`, `range`, `tas`, `ldap` and `command`."""

    uid: Id | None = setting(None, "The same user id for everybody.", 1000)
    gid: Id | None = setting(
        None, "The same group id for everybody. Default: the service's, or else the number of the user id.", 1000
    )
    range: IdRangeText | None = setting(
        None, f"An id of each person's own, handed out on first use. Default: {FIRST}-{LAST}.", "200000-209999"
    )
    tas: Tas | None = setting(
        None,
        "An accounting service knows. Its password is the secret `owner_password`.",
        {"url": "https://tas.example.edu/api/v1", "account": "hub-role"},
    )
    ldap: Ldap | None = setting(
        None,
        "A directory knows. The password for `bind` is the secret `owner_password`.",
        {"url": "ldaps://ldap.example.edu", "base": "ou=people,dc=example,dc=edu"},
    )
    command: PathBeside | None = setting(
        None,
        "A program, relative to this file, knows: it is given the login name and prints `uid gid home`.",
        "owner-of.py",
    )
    minimum: Id = setting(MINIMUM, "Nobody gets an id below.", 500)
    remember: Time = setting(
        Duration(7 * 24 * 3600), "How old a service's last answer may be that is used while it is away.", "7d"
    )

    @property
    def kind(self) -> Literal["uid", "range", "tas", "ldap", "command"]:
        """Where ids come from, with the default put in."""
        given: Any = next((kind for kind in ("uid", *SERVICES) if getattr(self, kind) is not None), "range")
        kind: Literal["uid", "range", "tas", "ldap", "command"] = given
        return kind

    @property
    def by_service(self) -> bool:
        """Whether somebody else is asked."""
        return self.kind in SERVICES

    @property
    def ids(self) -> IdRange:
        """Where ids are handed out from."""
        return self.range or IdRange(FIRST, LAST)

    def __str__(self) -> str:
        """For people: where ids come from."""
        if self.uid is not None:
            return f"user id {self.uid} and group id {self.gid or self.uid}"
        service = self.tas or self.ldap
        if service or self.command:
            return f"as {service.url if service else self.command} says"
        return f"an id out of {self.ids}"

    @model_validator(mode="after")
    def _one_source(self) -> OwnerOptions:
        given = [kind for kind in ("uid", "range", *SERVICES) if getattr(self, kind) is not None]
        if len(given) > 1:
            raise BadValue(f"{' and '.join(f'`{kind}`' for kind in given)} exclude each other", "keep one of them")
        if self.gid is not None and self.kind == "range":
            raise BadValue("`gid` is for `uid` or a service", "uid: 1000, or remove `gid`")
        first = self.range.first if self.range else None
        for name, number in {"uid": self.uid, "gid": self.gid, "range": first}.items():
            if number is not None and number < self.minimum:
                raise BadValue(f"`{name}` is below the minimum of {self.minimum}", f"{name}: {self.minimum} or more")
        return self
