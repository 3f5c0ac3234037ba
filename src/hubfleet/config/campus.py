"""Who vouches for people without OAuth: a site's directory, and its learning platform."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import PlainValidator, model_validator

from hubfleet.config.fields import BadValue, Form, Line
from hubfleet.config.owner import Attribute, LdapUrl, is_loopback
from hubfleet.config.section import setting
from hubfleet.config.vouching import LAUNCH, BaseUrl, Claim, ClientId, Issuer, Voucher


def _template(raw: object) -> str:
    text = raw if isinstance(raw, str) else ""
    if text.count("{username}") == 1 and "=" in text and "{" not in text.replace("{username}", ""):
        return text
    raise BadValue(f"`{raw}` is not the name of each person's entry", "uid={username},ou=people,dc=example,dc=edu")


class Directory(Voucher):
    """A directory (LDAP) that checks people's passwords, which they type on a page of the hub."""

    tells = ("groups",)

    url: LdapUrl = setting(
        ..., "Its address. With `ldap://` the connection is encrypted by StartTLS.", "ldaps://ldap.example.edu"
    )
    template: Annotated[str, PlainValidator(_template), Form("name with {username}")] | None = setting(
        None,
        "The name of each person's entry. It, or `base`, has to be there.",
        "uid={username},ou=people,dc=example,dc=edu",
    )
    base: Line | None = setting(None, "Where people's entries are looked for.", "ou=people,dc=example,dc=edu")
    bind: Line | None = setting(
        None,
        "Who looks for them, with the secret `ldap_password`. Default: nobody (anonymous).",
        "cn=hub,ou=services,dc=example,dc=edu",
    )
    name: Attribute = setting("uid", "The attribute with the login name.", "sAMAccountName")
    groups: Line | None = setting(
        None,
        "Where groups are looked for: they have people as `member`, `uniqueMember` or `memberUid`, and `cn` as name.",
        "ou=groups,dc=example,dc=edu",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Directory:
        if bool(self.template) == bool(self.base):
            what = "`template` and `base` exclude each other" if self.template else "nobody has said where people are"
            raise BadValue(what, "base: ou=people,dc=example,dc=edu, or template: uid={username},...")
        if self.bind and not self.base:
            raise BadValue("`bind` is for `base`", "base: ou=people,dc=example,dc=edu")
        return self

    @property
    def called(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def place(self) -> str:
        return self.url

    @property
    def secrets(self) -> tuple[str, ...]:
        return ("ldap_password",) if self.bind else ()

    def asked(self) -> tuple[str, ...]:
        return (self.url,)

    def told(self) -> dict[str, Any]:
        address = urlsplit(self.url)
        names = ("template", "base", "bind", "name", "groups")
        return {
            **{name: getattr(self, name) for name in names},
            "host": address.hostname,
            "port": address.port,
            "encrypted": address.scheme == "ldaps",
            # A directory on this machine need not encrypt what nobody else can see.
            "upgrade": address.scheme == "ldap" and not is_loopback(address.hostname or ""),
        }


class Platform(Voucher):
    """A learning platform (Moodle, Canvas, Open edX) from whose courses people come, by LTI 1.3."""

    tells = ("groups", "domains")

    issuer: Issuer = setting(..., "What the platform calls itself.", "https://moodle.example.edu")
    client_id: ClientId = setting(..., "The id that the platform gave this hub.", "4f1c0a9e7b")
    authorize_url: BaseUrl = setting(
        ..., "Where people's log-ins are asked for.", "https://moodle.example.edu/mod/lti/auth.php"
    )
    jwks_url: BaseUrl = setting(..., "Where the platform's keys are.", "https://moodle.example.edu/mod/lti/certs.php")
    username_claim: Claim = setting(
        "email", "The claim with the login name; `custom_NAME` for a field of the tool's own.", "custom_login"
    )
    title: Line | None = setting(None, "Its name on the page. Default: the host's.", "Moodle")
    callback: BaseUrl | None = setting(
        None,
        f"Where the platform sends people to, as it is registered there. Default: the hub's address and {LAUNCH}.",
        f"https://hub.example.edu{LAUNCH}",
    )

    @property
    def called(self) -> str:
        return self.title or urlsplit(self.issuer).hostname or ""

    @property
    def place(self) -> str:
        return self.issuer

    def asked(self) -> tuple[str, ...]:
        return (self.jwks_url,)

    def told(self) -> dict[str, Any]:
        names = ("issuer", "authorize_url", "jwks_url", "username_claim")
        return {**{name: getattr(self, name) for name in names}, "client": self.client_id}
