"""The settings of machines: how each is reached, what its images are built on, and how it reaches the network."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from pydantic import PlainValidator

from hubfleet.config.fields import BadValue, Form, Network, PathBeside, Port, did_you_mean, not_everybody
from hubfleet.config.fleet import Fleet
from hubfleet.config.section import Section, setting

ROLES = ("hub", "edge", "worker", "storage")
SEVERAL = frozenset({"worker"})
"""Roles that more than one machine may have."""
FLEET = frozenset({"worker", "storage"})
"""Roles of engine swarm alone."""
LINK_PORT = 7443
"""Where the hub's machine takes what an edge on another machine passes on, unless the file says otherwise."""

_DESTINATION = re.compile(
    r"(?P<scheme>ssh://)?([A-Za-z0-9_][A-Za-z0-9_.-]*@)?(\[[0-9a-fA-F:]+\]|[A-Za-z0-9][A-Za-z0-9._-]*)(?P<port>:\d+)?",
    re.ASCII,
)
_IMAGE = re.compile(
    r"[a-z0-9][a-z0-9._-]*(:\d+(?=/))?(/[a-z0-9][a-z0-9._-]*)*"
    r"(:(?P<tag>\w[\w.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_URL = re.compile(r"https?://[^\s/]+\S*")
_PASSWORD_IN_URL = re.compile(r"://[^/\s]*@")


def _destination(raw: object) -> str:
    found = _DESTINATION.fullmatch(raw) if isinstance(raw, str) else None
    if found is None:
        raise BadValue(
            f"`{raw}` is not an SSH destination", "ubuntu@203.0.113.10, a Host of ~/.ssh/config, or ubuntu@host:2222"
        )
    return f"ssh://{raw}" if found["port"] and not found["scheme"] else str(raw)  # ssh takes a port in this form only


def _role(raw: object) -> str:
    if raw in ROLES:
        return str(raw)
    close = did_you_mean(raw, ROLES) if isinstance(raw, str) else ""
    raise BadValue(f"`{raw}` is not a role{close}", f"one or more of {', '.join(ROLES)}")


def _machine_address(raw: object) -> str:
    try:
        address: Any = ipaddress.ip_address(raw if isinstance(raw, str) else "")
    except ValueError:
        raise BadValue(f"`{raw}` is not an IP address", "10.0.0.10") from None
    if address.is_unspecified or address.is_loopback or address.is_multicast:
        raise BadValue(f"`{raw}` is no address that another machine could reach it at", "10.0.0.10")
    if address.version != 4:  # the networks that Docker makes have none
        raise BadValue(f"`{raw}` is an IPv6 address, and the edge's container reaches others by IPv4 only", "10.0.0.10")
    return str(address)


def _image(raw: object) -> str:
    found = _IMAGE.fullmatch(raw) if isinstance(raw, str) else None
    if found is None:
        raise BadValue(f"`{raw}` is not the name of an image", "quay.io/jupyter/scipy-notebook:2026-10-01")
    if not found["digest"] and found["tag"] in (None, "latest"):
        raise BadValue(f"`{raw}` means another image every week", "pin a version, such as name:2026-10-01")
    return str(raw)


def is_image(name: str) -> bool:
    """Whether this names one image, today and later."""
    try:
        return bool(_image(name))
    except BadValue:
        return False


def _url(raw: object) -> str:
    if not isinstance(raw, str) or not _URL.fullmatch(raw):
        raise BadValue("not an http:// or https:// address", "http://proxy.example.edu:3128")
    if _PASSWORD_IN_URL.search(raw):
        # It would be in the history of the images, which everybody with access to the engine can read.
        raise BadValue("a name or password in an address", "an address that needs none from this machine")
    return raw


Destination = Annotated[str, PlainValidator(_destination), Form("SSH destination")]
Role = Annotated[str, PlainValidator(_role), Form("hub, edge, worker or storage")]
MachineAddress = Annotated[str, PlainValidator(_machine_address), Form("IPv4 address")]
Image = Annotated[str, PlainValidator(_image), Form("image with version")]
Reachable = Annotated[
    Network, not_everybody("every machine of the site would be open to users", "those they need only")
]
Url = Annotated[str, PlainValidator(_url), Form("address")]


class SshMachine(Section):
    """How one machine is reached."""

    ssh: Destination = setting(
        ..., "How `ssh` reaches it: user and address, or a Host of your `~/.ssh/config`.", "ubuntu@203.0.113.10"
    )
    ssh_config: PathBeside | None = setting(
        None, "File, relative to this file, that `ssh` reads instead of your `~/.ssh/config`.", "ssh_config"
    )
    ssh_key: PathBeside | None = setting(
        None, "File, relative to this file, with the private key that `ssh` shows there, and no other.", "hub.key"
    )


class MachineSettings(SshMachine):
    """One machine."""

    roles: tuple[Role, ...] = setting(
        (),
        "What it is for: `hub` (the hub, and users' servers with engine docker; exactly one machine), `edge` (HTTPS; "
        "without one, the hub's machine does that too); with engine swarm also `worker` (users' servers; any number) "
        "and `storage` (homes; without one, the hub's machine). One machine alone needs none.",
        ["hub"],
        ["worker"],
    )
    private_ip: MachineAddress | None = setting(
        None,
        "Its address in the network of the machines, for what they send each other. Default: where `ssh` connects to.",
        "10.0.0.10",
    )
    link_port: Port | None = setting(
        None,
        f"Role hub: TCP port at which it takes what an edge on another machine passes on. Default: {LINK_PORT}.",
        7444,
    )


class SiteNetwork(Section):
    """How machines and servers reach the rest of the world, where that is not simply there."""

    ca_bundle: PathBeside | None = setting(
        None,
        "Certificates of authorities that only this site trusts, relative to this file; added to the usual ones in "
        "images. A registry that images come from may be known by them.",
        "site-ca.crt",
    )
    proxy: Url | None = setting(None, "Proxy for building images and for servers.", "http://proxy.example.edu:3128")
    no_proxy: tuple[str, ...] = setting((), "Names that are reached without the proxy.", ["example.edu"])
    package_index: Url | None = setting(
        None, "Where Python packages come from instead of the public index.", "https://mirror.example.edu/simple"
    )
    allow: tuple[Reachable, ...] = setting(
        (), "Private networks that servers may reach. Without it: none, only the internet.", ["10.20.0.0/16"]
    )
    fleet: Fleet = setting(Fleet(), "The network between the machines of engine swarm.", {"servers": 220})
