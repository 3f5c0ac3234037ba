"""The small types that settings are made of: each turns text into a value, or says what to write instead.

Nothing here reads a file or the network; what must exist on this machine is looked at in `checks`.
"""

from __future__ import annotations

import ipaddress
import os.path
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationInfo

from hubfleet.errors import ConfigError
from hubfleet.names import has_control, valid_login
from hubfleet.units import Bytes, Cores, Duration, parse_bytes, parse_cores, parse_duration

ENGINES = ("local", "docker", "swarm", "slurm")
RELEASED = ("local", "docker", "swarm")
MIN_IDLE = Duration(600)
MIN_MEMORY_LIMIT = parse_bytes("64M")
MIN_QUOTA = parse_bytes("16M")
MIN_DISK = parse_bytes("512M")

_HUB = re.compile(r"[a-z0-9]+(-+[a-z0-9]+)*(\.[a-z0-9]+(-+[a-z0-9]+)*)*", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_RESERVED = re.compile(r"JUPYTERHUB_.*|PATH|HOME|LD_.*|PYTHON.*")
_LOOKS_SECRET = re.compile(r".*(PASSWORD|PASSWD|SECRET|TOKEN)|.*_KEY", re.IGNORECASE)
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\s*\[[A-Za-z0-9._,\s-]*\])?\s*([<>=!~@;(].*)?", re.ASCII)
_URL_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")


class BadValue(ValueError):
    """A value that a setting cannot take: `what` is the cause, `remedy` what to write (or None)."""

    def __init__(self, what: str, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def did_you_mean(word: str, known: Iterable[str], form: Callable[[str], str] = "`{}`".format) -> str:
    """What to add to the mention of an unknown word: ": did you mean `staff`?"; "" if it is like none that is known."""
    return "".join(f": did you mean {form(close)}?" for close in get_close_matches(word, list(known), n=1))


def valid_user(name: str) -> str:
    """The login name as JupyterHub knows it: lower-case. Raises ConfigError for names such as `../x`."""
    try:
        return _user(name)
    except BadValue as bad:
        raise ConfigError(bad.what, remedy=bad.remedy) from None


def valid_hub(name: str) -> str:
    """The name of a hub, if it is one. Raises ConfigError for names such as `My Hub`."""
    try:
        return _hub(name)
    except BadValue as bad:
        raise ConfigError(bad.what, remedy=bad.remedy) from None


def _user(raw: object) -> str:
    if isinstance(raw, (int, float)):
        raise BadValue(f"`{raw}` is read as a number, not as a name", f'put it in quotes: "{raw}"')
    name = raw if isinstance(raw, str) else ""
    if not valid_login(name):
        raise BadValue(f"invalid user name {name[:40]!r}", "a login name such as profx, without `/` or edge spaces")
    return name.lower()


def _hub(raw: object) -> str:
    if isinstance(raw, str) and _HUB.fullmatch(raw) and len(raw) <= 40:
        return raw
    raise BadValue(
        f"`{raw}` is not a hub name",
        "physics101 or prod.physics: lower-case letters, digits, `-`, dots between parts, 40 at most",
    )


def _key(raw: object) -> str:
    if isinstance(raw, str) and _KEY.fullmatch(raw):
        return raw
    raise BadValue(f"`{raw}` is not a name for a group or profile", "letters, digits, `-` and `_`, such as staff")


def _engine(raw: object) -> object:
    if raw in RELEASED:
        return raw
    if raw in ENGINES:
        raise BadValue(f"engine {raw} is not part of this release", "engine: local, engine: docker, or engine: swarm")
    raise BadValue(f"`{raw}` is not an engine", "choose local, docker, swarm, slurm")


def _address(raw: object) -> str:
    if raw == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(raw if isinstance(raw, str) else ""))
    except ValueError:
        what, remedy = f"`{raw}` is not an IP address", "127.0.0.1 (this machine only) or 0.0.0.0 (every network)"
        raise BadValue(what, remedy) from None


def _network(raw: object) -> str:
    try:
        return str(ipaddress.ip_network(raw if isinstance(raw, str) else "", strict=False))
    except ValueError:
        raise BadValue(f"`{raw}` is not an IP address or network", "192.0.2.7 or 10.0.0.0/24") from None


def not_everybody(what: str, remedy: str) -> AfterValidator:
    """For a network that may not be all there are."""

    def check(network: str) -> str:
        if network.endswith("/0"):
            raise BadValue(f"`{network}`: {what}", remedy)
        return network

    return AfterValidator(check)


def _idle(raw: object) -> Duration | Literal["never"]:
    if raw == "never":
        return "never"
    idle = parse_duration(raw)
    if idle < MIN_IDLE:
        # The hub learns of a server's activity every 5 minutes: a shorter time would stop servers in use.
        raise BadValue(f"`{raw}` ({idle}) is below the hub's 5-minute activity interval", "use 10m or more, or never")
    return idle


def _at_least(least: int, what: str, remedy: str) -> Callable[[object], Bytes]:
    """Takes a size, unless it is too little for ``what``."""

    def check(raw: object) -> Bytes:
        size = parse_bytes(raw)
        if size < least:
            raise BadValue(f"`{raw}` is too little for {what}", f"use {remedy}")
        return size

    return check


def _variable(raw: object) -> str:
    name = str(raw)
    if not _VARIABLE.fullmatch(name):
        raise BadValue(f"`{name}` is not the name of an environment variable", "letters, digits and `_`")
    if _RESERVED.fullmatch(name):
        raise BadValue(f"`{name}` is set by hubfleet and decides which programs run", "remove it")
    if _LOOKS_SECRET.fullmatch(name):
        raise BadValue(f"`{name}` looks like a secret, and every user could read it", "remove it; users set their own")
    return name


def _variable_value(raw: object) -> str:
    if not isinstance(raw, str):
        # How a number was written is lost (1.10 is read as 1.1), and it may be a secret: not repeated.
        raise BadValue("the value of an environment variable is text", 'put it in quotes: "..."')
    if "\0" in raw:
        raise BadValue("the value holds a zero byte", "remove it")
    return raw


def _requirement(raw: object) -> str:
    text = raw.strip() if isinstance(raw, str) else ""
    if _URL_PASSWORD.search(text):
        raise BadValue("a password in an address", "take it out; let ~/.netrc of the operator hold it")
    if not _REQUIREMENT.fullmatch(text) or has_control(text) or re.search(r"\s-", text):
        raise BadValue(
            f"`{raw}` is not a package", "pymc, pymc==5.2 or name @ git+https://...; options are not accepted"
        )
    return text


def _url_path(raw: object) -> str:
    if isinstance(raw, str) and re.fullmatch(r"/(?!/)[!-\[\]-~]*", raw):
        return raw
    raise BadValue(f"`{raw}` is not the path of a page", "/lab, /tree or /lab/tree/welcome.ipynb")


def _one_line(text: str) -> str:
    if has_control(text):
        raise BadValue("a line break or control character", "write it on one line")
    return text


def _beside(raw: object, info: ValidationInfo) -> Path:
    if not isinstance(raw, (str, Path)) or not str(raw) or has_control(str(raw)):
        raise BadValue(f"`{raw}` is not a path", "a path relative to this file")
    base = (info.context or {}).get("base", "")
    return Path(os.path.normpath(os.path.join(base, raw)))


@dataclass(frozen=True)
class Form:
    """How a value is written: its name in the reference, and its JSON types."""

    name: str
    types: tuple[str, ...] = ("string",)

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, object]:
        # A fresh dictionary each time: pydantic 2.10 writes into it.
        return {"type": self.types[0] if len(self.types) == 1 else list(self.types), "format": self.name}


AS_TEXT = PlainSerializer(str, return_type=str)

Size = Annotated[Bytes, PlainValidator(parse_bytes), AS_TEXT, Form("size", ("string", "integer"))]
MemoryLimit = Annotated[
    Bytes, PlainValidator(_at_least(MIN_MEMORY_LIMIT, "a server", "1G")), AS_TEXT, Form("size", ("string", "integer"))
]
Quota = Annotated[
    Bytes, PlainValidator(_at_least(MIN_QUOTA, "a home", "10G")), AS_TEXT, Form("size", ("string", "integer"))
]
DiskSize = Annotated[
    Bytes,
    PlainValidator(_at_least(MIN_DISK, "an XFS file system", "500G")),
    AS_TEXT,
    Form("size", ("string", "integer")),
]
CoreCount = Annotated[Cores, PlainValidator(parse_cores), AS_TEXT, Form("cores", ("number", "string"))]
Idle = Annotated[
    Duration | Literal["never"],
    PlainValidator(_idle),
    AS_TEXT,
    Form("length of time, or never", ("string", "integer")),
]
HubName = Annotated[str, PlainValidator(_hub), Form("hub name")]
UserName = Annotated[str, PlainValidator(_user), Form("login name")]
Key = Annotated[str, PlainValidator(_key), Form("name")]
Engine = Annotated[Literal["local", "docker", "swarm"], BeforeValidator(_engine)]
Address = Annotated[str, PlainValidator(_address), Form("IP address")]
Network = Annotated[str, PlainValidator(_network), Form("IP address or network")]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Count = Annotated[int, Field(strict=True, ge=0, le=100)]
ProcessCount = Annotated[int, Field(strict=True, ge=16, le=1_000_000)]
Flag = Annotated[bool, Field(strict=True)]
Variable = Annotated[str, PlainValidator(_variable), Form("variable")]
VariableValue = Annotated[str, PlainValidator(_variable_value), Form("text")]
Requirement = Annotated[str, PlainValidator(_requirement), Form("package")]
UrlPath = Annotated[str, PlainValidator(_url_path), Form("page")]
Line = Annotated[str, AfterValidator(_one_line)]
PathBeside = Annotated[Path, PlainValidator(_beside), AS_TEXT, Form("path")]
