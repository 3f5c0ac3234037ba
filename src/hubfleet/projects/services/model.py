"""The settings of project `services`."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import PlainValidator, model_validator

from hubfleet.config.fields import (
    AS_TEXT,
    BadValue,
    Flag,
    Form,
    Key,
    MemoryLimit,
    PathBeside,
    ProcessCount,
)
from hubfleet.config.machines import Image
from hubfleet.config.secrets import is_secret_name
from hubfleet.config.section import Section, setting
from hubfleet.names import has_control
from hubfleet.projects.base import ProjectConfig, SecretFrom

_SERVICE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)
_SECRET = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LOOKS_SECRET = re.compile(r".*(PASSWORD|PASSWD|SECRET|TOKEN)|.*_KEY", re.IGNORECASE)
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/@\s]*:[^/@\s]*@")
_PORT = re.compile(r"((?P<address>[0-9.]+):)?(?P<port>\d{1,5}):(?P<inner>\d{1,5})", re.ASCII)
_SYSTEM = (
    "/proc",
    "/sys",
    "/dev",
    "/run/secrets",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/usr",
    "/etc/passwd",
    "/etc/group",
)
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
"""Those that reach nothing outside the container."""
LONGEST = 30


@dataclass(frozen=True)
class Published:
    """A port of the machine that leads to one of the container's. `str()` gives the form of the file."""

    address: str
    port: int
    inner: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}:{self.inner}"


def _service(raw: object) -> str:
    if isinstance(raw, str) and _SERVICE.fullmatch(raw) and len(raw) <= LONGEST:
        return raw
    raise BadValue(f"`{raw}` is not a name here", f"lower-case letters, digits and `-`, {LONGEST} at most, such as api")


def _secret(raw: object) -> str:
    if not isinstance(raw, str) or not _SECRET.fullmatch(raw) or len(raw) > 40:
        raise BadValue(
            f"`{raw}` is not the name of a secret", "lower-case letters, digits and `_`, such as db_password"
        )
    if not is_secret_name(raw):
        raise BadValue(f"`{raw}` means something else in a secrets file", "another name, such as db_password")
    return raw


def _variable(raw: object) -> str:
    name = str(raw)
    if not _VARIABLE.fullmatch(name):
        raise BadValue(f"`{name}` is not the name of an environment variable", "letters, digits and `_`")
    if _LOOKS_SECRET.fullmatch(name):
        raise BadValue(
            f"`{name}` looks like a secret, and whoever may ask the engine could read it",
            f"secrets: [...] for the service; many programs take {name}_FILE: /run/secrets/...",
        )
    return name


def _value(raw: object) -> str:
    # How a number was written is lost (1.10 is read as 1.1), and it may be a secret: not repeated.
    if not isinstance(raw, str):
        raise BadValue("the value of an environment variable is text", 'put it in quotes: "..."')
    if "\0" in raw or _PASSWORD_IN_ADDRESS.search(raw):
        raise BadValue("a password in an address, or a zero byte", "secrets: [...] for the service")
    return raw


def _published(raw: object) -> Published:
    if isinstance(raw, Published):
        return raw
    found = _PORT.fullmatch(raw) if isinstance(raw, str) else None
    if found is None or not all(0 < int(found[name]) < 65536 for name in ("port", "inner")):
        raise BadValue(f"`{raw}` is not a port to publish", '"8080:80" or "127.0.0.1:8080:80", in quotes')
    try:
        address = str(ipaddress.IPv4Address(found["address"] or "0.0.0.0"))
    except ValueError:
        raise BadValue(f"`{found['address']}` is not an IPv4 address", '"127.0.0.1:8080:80"') from None
    return Published(address, int(found["port"]), int(found["inner"]))


def _inside(raw: object) -> str:
    path = raw if isinstance(raw, str) else ""
    if not path.startswith("/") or ".." in path.split("/") or has_control(path):
        raise BadValue(f"`{raw}` must be absolute, without `..`", "/var/lib/data")
    path = posixpath.normpath("/" + path.lstrip("/"))
    if path == "/" or any(path == one or path.startswith(f"{one}/") for one in _SYSTEM):
        raise BadValue(f"`{path}` refused: hides what the container's system needs", "/var/lib/data or /data")
    return path


def _word(raw: object) -> str:
    if not isinstance(raw, str) or "\0" in raw:
        raise BadValue("each word of a command is text", 'put it in quotes: "..."')
    return raw


def _capability(raw: object) -> str:
    if raw in CAPABILITIES:
        return str(raw)
    raise BadValue(f"`{raw}` is not among what a service may have", f"one of {', '.join(CAPABILITIES)}, or none")


ServiceName = Annotated[str, PlainValidator(_service), Form("name")]
SecretName = Annotated[str, PlainValidator(_secret), Form("name of a secret")]
VariableName = Annotated[str, PlainValidator(_variable), Form("variable")]
Value = Annotated[str, PlainValidator(_value), Form("text")]
Port = Annotated[Published, PlainValidator(_published), AS_TEXT, Form("port:port inside")]
Inside = Annotated[str, PlainValidator(_inside), Form("absolute path")]
Word = Annotated[str, PlainValidator(_word), Form("text")]
Capability = Annotated[str, PlainValidator(_capability), Form("capability")]


class Service(Section):
    """One container, which the engine keeps running."""

    image: Image | None = setting(None, "The image that it runs; fetched where it is not there.", "postgres:16.4")
    build: PathBeside | None = setting(
        None, "Instead: a directory beside this file with a Dockerfile, of which the image is built.", "api"
    )
    command: tuple[Word, ...] = setting(
        (), "The program, instead of the one that the image would run.", ["python3", "/app.py"]
    )
    environment: dict[VariableName, Value] = setting(
        {}, "Variables. No secrets: these are files, see `secrets`.", {"QUEUE": "queue:6379"}
    )
    secrets: tuple[SecretName, ...] = setting(
        (), "Secrets that it may read, each as a file /run/secrets/NAME.", ["db_password"]
    )
    volumes: dict[ServiceName, Inside] = setting(
        {},
        "Directories that keep what it writes: a name, and where it is in the container. Services on one machine that "
        "say the same name share it.",
        {"data": "/var/lib/data"},
    )
    ports: tuple[Port, ...] = setting((), "Ports of the machine that lead into it.", ["8080:80", "127.0.0.1:5432:5432"])
    depends_on: tuple[ServiceName, ...] = setting(
        (), "Services of the same machine that have to answer before it starts.", ["db", "queue"]
    )
    health: tuple[Word, ...] = setting(
        (),
        "A program in the container that ends with 0 when the service answers. Without it, one that runs for two "
        "seconds counts as one that answers.",
        ["python3", "/healthy.py"],
    )
    role: Key | None = setting(None, "It runs on the machine with this role. With one machine, there.", "web")
    user: Literal["own", "root"] = setting(
        "own",
        "`own`: an account of this deployment without any rights. `root`: the container's root, which has none of "
        "root's rights but those of `capabilities`.",
        "root",
    )
    capabilities: tuple[Capability, ...] = setting(
        (), "Rights of root's that it needs, with `user: root`.", ["CHOWN", "SETUID", "SETGID"]
    )
    writable: Flag = setting(
        False, "Whether it may write outside its volumes and /tmp; what it writes goes with the container.", True
    )
    tmpfs: tuple[Inside, ...] = setting(
        (), "Further directories in memory that it may write to, beside /tmp.", ["/run/nginx"]
    )
    memory: MemoryLimit | None = setting(None, "How much memory it may use.", "1G")
    processes: ProcessCount = setting(1024, "How many processes and threads it may have.", 256)

    @model_validator(mode="after")
    def _one_image(self) -> Service:
        if (self.image is None) == (self.build is None):
            raise BadValue("needs either `image` or `build`", "image: postgres:16.4, or build: ./api")
        if self.capabilities and self.user != "root":
            raise BadValue("`capabilities` are for `user: root`", "user: root, or no capabilities")
        return self


class ServicesConfig(ProjectConfig):
    """Containers that belong together."""

    project: Literal["services"] = setting(..., "Which project this is.", "services")
    secrets: dict[SecretName, SecretFrom] = setting(
        {},
        "What secrets there are: `file` (you write it into hubfleet.secrets.yaml), or `generate` (the first `up` makes "
        "it up).",
        {"db_password": "generate"},
    )
    services: dict[ServiceName, Service] = setting(
        ...,
        "The containers, by name. Each reaches the others on its machine by their names.",
        {"api": {"build": "api"}},
    )

    def machine_of(self, service: str) -> str:
        """The machine that a service runs on."""
        role = self.services[service].role
        there = (name for name, one in self.machines.items() if role is None or role in one.roles)
        return next(there, self.places[0])

    def ordered(self) -> list[str]:
        """The services, each after those that it depends on. Of a circle, `findings` has told."""
        done: dict[str, None] = {}

        def visit(name: str, above: tuple[str, ...]) -> None:
            for needed in self.services[name].depends_on:
                if needed in self.services and needed not in above:
                    visit(needed, (*above, name))
            done.setdefault(name)

        for name in self.services:
            visit(name, (name,))
        return list(done)
