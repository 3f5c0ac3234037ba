"""How people prove who they are, and who of them may enter."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainValidator, model_validator

from hubfleet.config.campus import Directory, Platform
from hubfleet.config.fields import AS_TEXT, BadValue, Flag, Form, PathBeside, UserName, valid_user
from hubfleet.config.https import Domain
from hubfleet.config.providers import CILogon, GitHub, Globus, Google, Oidc, Tapis
from hubfleet.config.section import Section, setting
from hubfleet.config.vouching import Voucher
from hubfleet.errors import ConfigError
from hubfleet.names import has_control
from hubfleet.units import Duration, parse_duration

PROVIDERS = ("github", "google", "cilogon", "globus", "oidc", "tapis", "lti", "ldap")
"""The keys of `login` that name who vouches for people."""
WAYS = ("password", "signup", *PROVIDERS)
_SECRET = "The secret `client_secret` goes with it."


def _password(raw: object) -> object:
    if raw != "file":
        # What stands here may be the password itself: it is not repeated.
        raise BadValue("the only value is `file`", "password: file; the password itself goes to hubfleet.secrets.yaml")
    return raw


def _group(raw: object) -> str:
    if isinstance(raw, (int, float)):
        raise BadValue(f"`{raw}` is read as a number, not as a name", f'put it in quotes: "{raw}"')
    if isinstance(raw, str) and raw == raw.strip() and 0 < len(raw) <= 256 and not has_control(raw):
        return raw
    raise BadValue(f"`{raw}` is not the name of a group", "its name as the provider tells it")


def _team(raw: object) -> str:
    parts = raw.split("/") if isinstance(raw, str) else []
    if len(parts) == 2 and all(part and part == part.strip() and " " not in part for part in parts):
        return "/".join(parts).lower()
    raise BadValue(f"`{raw}` is not a team", "organization/team, both as they are in addresses of their pages")


def _organization(raw: object) -> str:
    if isinstance(raw, str) and raw and "/" not in raw and not any(letter.isspace() for letter in raw):
        return raw.lower()
    raise BadValue(f"`{raw}` is not an organization", "its name as it is in the address of its page")


def _recheck(raw: object) -> Duration:
    every = parse_duration(raw)
    if not 1 <= every <= 24 * 3600:
        raise BadValue(f"`{raw}` is not between a second and a day", "5m")
    return every


Recheck = Annotated[Duration, PlainValidator(_recheck), AS_TEXT, Form("length of time", ("string", "integer"))]
GroupName = Annotated[str, PlainValidator(_group), Form("group")]
TeamName = Annotated[str, PlainValidator(_team), Form("organization/team")]
OrganizationName = Annotated[str, PlainValidator(_organization), Form("organization")]


class Allow(Section):
    """Who may sign up and enter, admins aside: whoever one of these names."""

    users: tuple[UserName, ...] = setting((), "Login names.", ["ada", "ben"])
    groups: tuple[GroupName, ...] = setting(
        (),
        "Groups of the provider (`oidc` with `groups_claim`; `ldap` with `groups`; `google` with `groups`, by their "
        "e-mail addresses; `globus`, by their ids; `lti`: the course, by label or id).",
        ["physics-101"],
    )
    teams: tuple[TeamName, ...] = setting((), "Teams of `github`.", ["example-edu/physics"])
    organizations: tuple[OrganizationName, ...] = setting((), "Organizations of `github`.", ["example-edu"])
    domains: tuple[Domain, ...] = setting(
        (),
        "Domains that the provider says people belong to (`google`: of their workspace; `oidc`: of a verified e-mail "
        "address; `cilogon` and `globus`: of their name; `lti`: of the e-mail address).",
        ["example.edu"],
    )
    file: PathBeside | None = setting(
        None, "File, relative to this file, with a login name on each line. `up` brings it to the hub.", "people.txt"
    )
    everybody: Flag = setting(False, "`true`: whoever has an account at the provider.", True)

    @property
    def rules(self) -> dict[str, Any]:
        """What is set, by key."""
        return {key: value for key in type(self).model_fields if (value := getattr(self, key))}


def listed(text: str, file: str) -> Iterator[str | ConfigError]:
    """The names of a list, a line each; for a line that is none, what is wrong with it. `#` begins a comment."""
    for number, line in enumerate(text.splitlines(), start=1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        try:
            yield valid_user(name)
        except ConfigError as error:
            yield ConfigError(error.what, where=f"{file}:{number}", remedy=error.remedy)


def read_list(file: Path | None) -> tuple[str, ...]:
    """The names in the file of `login.allow.file`, in their order; none without a file."""
    text = file.read_text(encoding="utf-8") if file else ""
    return tuple(dict.fromkeys(name for name in listed(text, "") if isinstance(name, str)))


class Login(Section):
    """How users prove who they are: exactly one of `password`, `signup` and a provider."""

    password: Annotated[Literal["file"], BeforeValidator(_password)] | None = setting(
        None, "`file`: whoever knows the class password, which is in the secrets file, may choose a name.", "file"
    )
    signup: Literal["approval"] | None = setting(
        None, "`approval`: users sign up with a password of their own; an admin lets them in.", "approval"
    )
    github: GitHub | None = setting(None, "Accounts of GitHub. " + _SECRET, {"client_id": "Iv1.8a61f9b3a7aba766"})
    google: Google | None = setting(
        None, "Accounts of Google. " + _SECRET, {"client_id": "1234.apps.googleusercontent.com"}
    )
    cilogon: CILogon | None = setting(
        None,
        "Accounts of universities, by way of CILogon. " + _SECRET,
        {
            "client_id": "cilogon:/client_id/4f1c0a9e7b",
            "identity_providers": {"https://idp.example.edu/shibboleth": {"username_claim": "eppn"}},
        },
    )
    globus: Globus | None = setting(None, "Accounts of Globus. " + _SECRET, {"client_id": "4f1c0a9e-7b-4d"})
    oidc: Oidc | None = setting(
        None,
        "Accounts of a provider of OpenID Connect. " + _SECRET,
        {"issuer": "https://login.example.edu", "client_id": "physics101"},
    )
    tapis: Tapis | None = setting(
        None, "Accounts of a Tapis tenant. " + _SECRET, {"tenant": "designsafe", "client_id": "4f1c0a9e7b"}
    )
    lti: Platform | None = setting(
        None,
        "People who come from the courses of a learning platform, by LTI 1.3.",
        {
            "issuer": "https://moodle.example.edu",
            "client_id": "4f1c0a9e7b",
            "authorize_url": "https://moodle.example.edu/mod/lti/auth.php",
            "jwks_url": "https://moodle.example.edu/mod/lti/certs.php",
        },
    )
    ldap: Directory | None = setting(
        None,
        "Accounts of a directory (LDAP), whose passwords people type on a page of the hub.",
        {"url": "ldaps://ldap.example.edu", "base": "ou=people,dc=example,dc=edu"},
    )
    admins: tuple[UserName, ...] = setting(
        ("admin",),
        "Login names of those who run the hub; they may always enter. With a provider nobody, unless it is written.",
        ["profx"],
    )
    allow: Allow | None = setting(
        None,
        "Narrows who may enter. Without it, everybody who passes the login. With a provider it has to be there.",
        {"users": ["ada"]},
        {"teams": ["example-edu/physics"], "file": "people.txt"},
    )
    block: tuple[UserName, ...] = setting((), "With a provider: login names of those who may not enter.", ["mallory"])
    when_removed: Literal["stop", "keep"] = setting(
        "stop",
        "With a provider: what becomes of the running servers of somebody who may not enter any more. "
        "`keep`: they run until they are idle.",
        "keep",
    )

    recheck: Recheck = setting(
        Duration(300),
        "With a provider: how often it is asked, while people are logged in, whether what it told of them still holds.",
        "1m",
    )

    @property
    def provider(self) -> Voucher | None:
        """Who vouches for people; None where they have passwords of this hub's own."""
        given: Voucher | None = next((found for key in PROVIDERS if (found := getattr(self, key)) is not None), None)
        return given

    @property
    def list_file(self) -> Path | None:
        """The file of `login.allow.file`."""
        return self.allow.file if self.allow else None

    @property
    def kind(self) -> str:
        """The key of the way in."""
        return next(key for key in WAYS if getattr(self, key) is not None)

    @property
    def secrets(self) -> dict[str, str]:
        """The secrets that the hub shows to the provider, by name, and the setting that needs each."""
        return dict.fromkeys(self.provider.secrets if self.provider else (), f"login.{self.kind}")

    def entry(self, name: str, listed: Collection[str]) -> tuple[str, str]:
        """Whether a name may enter for its own sake, in words, and the setting that says so.

        ``listed``: the names of `login.allow.file`. What the provider knows of the person beside the name is not known
        here.
        """
        allow = self.allow
        if name in self.block:
            return "no, blocked", "login.block"
        if name in self.admins:
            return "yes, runs the hub", "login.admins"
        if allow is None:
            return "yes", "login"
        for rule, found in {"users": name in allow.users, "file": name in listed, "everybody": allow.everybody}.items():
            if found:
                return "yes", f"login.allow.{rule}"
        others = [rule for rule in allow.rules if rule not in ("users", "file")]
        if others:
            return f"if {self.kind} tells of one of these {' or '.join(others)}", f"login.allow.{others[0]}"
        return "no", "login.allow"

    @model_validator(mode="before")
    @classmethod
    def _no_usual_admin(cls, data: Any) -> Any:
        # Anybody could be called `admin` there.
        if isinstance(data, dict) and "admins" not in data and any(data.get(key) is not None for key in PROVIDERS):
            return {**data, "admins": ()}
        return data

    @model_validator(mode="after")
    def _one_way(self) -> Login:
        given = [key for key in WAYS if getattr(self, key) is not None]
        if len(given) > 1:
            words = " and ".join(f"`{key}`" for key in given)
            raise BadValue(f"{words} exclude each other", f"keep one (in a hub that inherits it, `{given[0]}: null`)")
        if not given:
            raise BadValue("nobody could log in", "login: {password: file} or login: {signup: approval}")
        if self.signup and not self.admins:
            raise BadValue("nobody could approve those who sign up", "admins: [profx]")
        return self
