"""The name that a hub answers to, and how its pages are encrypted on their way."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import PlainValidator, ValidationInfo, WrapValidator, model_validator
from pydantic_core.core_schema import ValidatorFunctionWrapHandler

from hubfleet.config.fields import BadValue, Form, PathBeside, did_you_mean
from hubfleet.config.section import Section, setting
from hubfleet.names import has_control

Word = Literal["auto", "self-signed", "secrets", "off"]
Kind = Literal["auto", "authority", "certificate", "self-signed", "off"]
WORDS: tuple[Word, ...] = ("auto", "self-signed", "secrets", "off")
SECRETS = ("https_certificate", "https_key")
"""What the word `secrets` stands for: texts in PEM form among the secrets."""

PUBLIC_AUTHORITY = "https://acme-v02.api.letsencrypt.org/directory"
"""Who is asked for a certificate if nobody is named."""

# Names that no public authority vouches for: everybody may use them at home.
_PRIVATE = ("local", "localhost", "internal", "lan", "home.arpa", "test", "invalid")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", re.ASCII)
_NAME = "hub.example.edu"


def is_address(domain: str) -> bool:
    """Whether the domain is an IP address rather than a name."""
    try:
        ipaddress.ip_address(domain)
    except ValueError:
        return False
    return True


def is_public(domain: str) -> bool:
    """Whether a public authority could give a certificate for it: a name with a dot, of no private kind."""
    return "." in domain and not is_address(domain) and not any(domain.endswith(f".{end}") for end in _PRIVATE)


def _domain(raw: object) -> str:
    if isinstance(raw, (int, float)):
        raise BadValue(f"`{raw}` is read as a number, not as a name", _NAME)
    text = raw if isinstance(raw, str) else ""
    name = text.lower()
    if is_address(name):
        return str(ipaddress.ip_address(name))
    bare = re.sub(r"^[a-z][a-z0-9+.-]*://", "", name).partition("/")[0].partition(":")[0].rstrip(".")
    if bare != name and _is_name(bare):
        raise BadValue(f"`{text}`: give the name only", bare)
    if name.startswith("*."):
        raise BadValue(f"`{text}` is a pattern, and the hub answers to one name", f"hub{name[1:]}")
    if not name.isascii() and (coded := _coded(name)):
        raise BadValue(f"`{text}` has letters that names on the internet are spelled without", coded)
    if not _is_name(name):
        raise BadValue(f"`{text}` is not the name of a server", _NAME)
    return name


def _is_name(name: str) -> bool:
    labels = name.split(".")
    # Such as 192.168.1: no name ends in a number, and programs would take it for an address.
    return len(name) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def _coded(name: str) -> str | None:
    try:
        coded = name.encode("idna").decode()
    except UnicodeError:
        return None
    return coded if _is_name(coded) else None


def _directory(raw: object) -> str:
    text = raw if isinstance(raw, str) else ""
    try:
        parts = urlsplit(text)
        sound = parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, sound = urlsplit(""), None
    if "@" in parts.netloc:
        # A password may stand there: not repeated.
        raise BadValue("the address of an authority holds no name or password", "take out what is before the `@`")
    if not sound or parts.scheme != "https" or has_control(text) or " " in text:
        raise BadValue(
            f"`{text}` is not the address of an authority's directory", "https://ca.example.edu/acme/acme/directory"
        )
    return text


def _email(raw: object) -> str:
    if isinstance(raw, str) and _EMAIL.fullmatch(raw):
        return raw
    raise BadValue(f"`{raw}` is not an e-mail address", "profx@example.edu")


Domain = Annotated[str, PlainValidator(_domain), Form("domain name")]
DirectoryUrl = Annotated[str, PlainValidator(_directory), Form("https address")]
Email = Annotated[str, PlainValidator(_email), Form("e-mail address")]


class Https(Section):
    """A certificate of one's own, or the authority to ask for one."""

    certificate: PathBeside | None = setting(
        None, "File, relative to this file, with the certificate and those between it and its authority.", "hub.pem"
    )
    key: PathBeside | None = setting(None, "File, relative to this file, with the certificate's key.", "hub.key")
    acme: DirectoryUrl | None = setting(
        None,
        "Address of the directory of the authority (ACME) to ask. Default: Let's Encrypt.",
        "https://ca.example.edu/acme/acme/directory",
    )
    email: Email | None = setting(None, "Where the authority may write to.", "profx@example.edu")
    ca_bundle: PathBeside | None = setting(
        None,
        "File, relative to this file, with the certificates to know an authority of one's own by.",
        "our-ca.pem",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Https:
        own, asked = self.certificate or self.key, self.acme or self.email or self.ca_bundle
        if own and asked:
            raise BadValue(
                "a certificate of one's own, and an authority to ask for one",
                "keep `certificate` and `key`, or the others",
            )
        if own and not (self.certificate and self.key):
            missing = "key" if self.certificate else "certificate"
            raise BadValue(f"`{missing}` is missing", "https: {certificate: hub.pem, key: hub.key}")
        if self.ca_bundle and not self.acme:
            raise BadValue("`ca_bundle` is for an authority of one's own", "name it: acme: https://...")
        if not own and not asked:
            raise BadValue("says nothing", "https: auto")
        return self


def _word_or_section(raw: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Word | Https:
    if isinstance(raw, str):
        if raw not in WORDS:
            what = f"`{raw}` is not a setting for https{did_you_mean(raw, WORDS)}"
            raise BadValue(what, "https: auto, self-signed, secrets or off, or {certificate: ..., key: ...}")
        return raw
    if isinstance(raw, bool):
        raise BadValue("must be a word or a map", f"https: {'auto' if raw else 'off'}")
    # Straight to the map: what a union says of each of its parts is nothing for people.
    return raw if isinstance(raw, Https) else Https.model_validate(raw, context=info.context)


HttpsSetting = Annotated[Https | Word, WrapValidator(_word_or_section)]
