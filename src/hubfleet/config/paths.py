"""Host directories that servers may see: mounts and homes. Text only, nothing is looked up."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import PlainValidator

from hubfleet.config.fields import AS_TEXT, BadValue, Form, did_you_mean
from hubfleet.errors import ConfigError
from hubfleet.names import has_control

VARIABLES = ("username", "hub", "tenant_id", "tas_homeDirectory")
HOME = "tas_homeDirectory"
"""Of a user, told by the service that knows user ids."""

_SYSTEM = (
    *("/etc", "/root", "/proc", "/sys", "/dev", "/boot", "/run", "/var/run"),
    *("/var/lib/docker", "/var/lib/containerd"),
)
_REFUSED_HOSTS = (*_SYSTEM, "/var/lib/hubfleet")
_REFUSED_TARGETS = (
    *("/etc", "/usr", "/proc", "/sys", "/dev", "/boot", "/run", "/var/run"),
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
)
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Mount:
    """A host directory shown inside servers. `str()` gives the form of the file, "host:container:ro"."""

    host: str
    container: str
    mode: Literal["ro", "rw"]

    def __str__(self) -> str:
        return f"{self.host}:{self.container}:{self.mode}"

    @property
    def for_home(self) -> bool:
        """Whether it depends on what a service knows of the user."""
        return f"{{{HOME}}}" in f"{self.host}:{self.container}"

    @property
    def fixed(self) -> str:
        """The part of the host's path that is the same for everybody."""
        before, brace, _ = self.host.partition("{")
        return before.rpartition("/")[0] or "/" if brace else self.host

    def expand(self, username: str, hub: str, home: str | None = None) -> Mount:
        """The mount with its variables replaced, refused again if the result would give users the host.

        `username` must have passed `valid_user`, `home` `usable_home`; without one its variable stays.
        Raises ConfigError.
        """
        values = {"username": username, "hub": hub, "tenant_id": hub.rpartition(".")[2]}
        values |= {} if home is None else {HOME: home}

        def put(path: str) -> str:
            return _BRACES.sub(lambda found: values.get(found[1], found[0]), path)

        try:
            return Mount(_host(put(self.host), _REFUSED_HOSTS), _target(put(self.container)), self.mode)
        except BadValue as bad:
            raise ConfigError(f"mount {self} for {username!r}: {bad.what}", remedy=bad.remedy) from None


def parse_mount(raw: object) -> Mount:
    """A mount from "host:container:ro" or "...:rw". Raises BadValue."""
    if isinstance(raw, Mount):
        return raw
    parts = raw.split(":") if isinstance(raw, str) else []
    if len(parts) != 3 or parts[2] not in ("ro", "rw"):
        raise BadValue(f"`{raw}` is not a mount", "/host/path:/path/in/server:ro (or :rw)")
    host, container, mode = parts
    for path in (host, container):
        _check_variables(path)
    return Mount(_host(host, _REFUSED_HOSTS), _target(container), "ro" if mode == "ro" else "rw")


def _homes(raw: object) -> Path:
    text = str(raw)
    if "{" in text or "}" in text:
        raise BadValue(f"`{text}`: no variables here", "the directory that holds all homes, such as /srv/homes")
    return Path(_host(text, _SYSTEM))


def _directory(raw: object) -> str:
    text = str(raw)
    if "{" in text or "}" in text:
        raise BadValue(f"`{text}`: no variables here", "a fixed directory, such as /work")
    return _host(text, _REFUSED_HOSTS)


def _host(path: str, refused: tuple[str, ...]) -> str:
    host = _absolute(path)
    if _within(host, refused) or any(_within(entry, (host,)) for entry in refused):
        raise BadValue(f"`{host}` refused: gives users the host", "a directory made for users, such as /srv/data")
    if host.split("/")[1].startswith("{"):
        raise BadValue(f"`{host}` begins with a variable", "a fixed first directory, such as /srv/{username}")
    return host


def _target(path: str) -> str:
    target = _absolute(path)
    if target == "/" or _within(target, _REFUSED_TARGETS):
        raise BadValue(f"`{target}` refused: hides system files inside servers", "/home/jovyan/data or /data")
    return target


def _absolute(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/") or has_control(path):
        raise BadValue(f"`{path}` must be absolute, without `..`", "/srv/data")
    # normpath keeps a leading double slash, which Linux reads as a single one.
    return posixpath.normpath("/" + path.lstrip("/"))


def _within(path: str, roots: tuple[str, ...]) -> bool:
    return any(root == "/" or path == root or path.startswith(f"{root}/") for root in roots)


def _check_variables(path: str) -> None:
    for name in _BRACES.findall(path):
        if name not in VARIABLES:
            have = ", ".join(f"{{{variable}}}" for variable in VARIABLES[:-1]) + f" or {{{VARIABLES[-1]}}}"
            raise BadValue(f"unknown variable {{{name}}}{did_you_mean(name, VARIABLES, '{{{}}}'.format)}", have)
    if "{" in _BRACES.sub("", path) or "}" in _BRACES.sub("", path):
        raise BadValue(f"`{path}`: a brace without its partner", "{username}")


MountText = Annotated[Mount, PlainValidator(parse_mount), AS_TEXT, Form("host:container:ro|rw")]
HostDirectory = Annotated[str, PlainValidator(_directory), Form("absolute path")]
HomesPath = Annotated[Path, PlainValidator(_homes), AS_TEXT, Form("absolute path")]
