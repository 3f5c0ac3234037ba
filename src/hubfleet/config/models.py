"""The settings of a hub, as frozen models. The reference page is made of the descriptions and examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from hubfleet.config.fields import (
    Address,
    Engine,
    Flag,
    HubName,
    Key,
    Network,
    Port,
    UserName,
    not_everybody,
)
from hubfleet.config.https import SECRETS, Domain, Https, HttpsSetting, Kind
from hubfleet.config.inherit import Provenance
from hubfleet.config.login import GroupName, Login
from hubfleet.config.machines import Image, MachineSettings, SiteNetwork
from hubfleet.config.paths import Mount
from hubfleet.config.projects import Project
from hubfleet.config.section import Section, setting
from hubfleet.config.servers import ServerOptions, Servers
from hubfleet.config.storage import PartStorage, Storage
from hubfleet.units import Bytes

TrustedProxy = Annotated[
    Network, not_everybody("everybody could pass for anybody", "the addresses of the web servers only")
]


class Listen(Section):
    """Where the hub answers without HTTPS."""

    address: Address = setting("127.0.0.1", "Address to listen on.", "0.0.0.0")
    port: Port = setting(8000, "TCP port to listen on.", 8080)
    trusted_proxies: tuple[TrustedProxy, ...] = setting(
        (), "Web servers in front of the hub, which are believed when they say for whom they ask.", ["192.0.2.7"]
    )


class User(Section):
    """What differs for one user."""

    servers: ServerOptions = setting(ServerOptions(), "Server options that differ.", {"cpu": {"limit": 4}})
    storage: PartStorage = setting(PartStorage(), "Storage that differs.", {"quota": "100G"})


class Group(User):
    """People, and what differs for them. Of a user's groups, the one that stands last in the file wins."""

    members: tuple[UserName, ...] = setting((), "Login names.", ["ta1", "ta2"])
    provider: tuple[GroupName, ...] = setting(
        (),
        "Whoever is in one of these groups of the provider of logins is in this one too: as they are called under "
        "`login.allow.groups`, teams of `github` as organization/team.",
        ["example-edu/physics"],
    )
    hub: Flag | None = setting(
        None,
        "`true`: whoever the hub's admins put into a group of this name, on the hub's page for groups, is in this one "
        "too.",
        True,
    )
    project: Project | None = setting(
        None, "A project that the group works on, see `storage.projects`.", {"title": "Shake table, 2026"}
    )


class Config(Section):
    """One hub, complete. Built by `load`, `default_config` or `from_dump`."""

    project: Annotated[Literal["jupyterhub"], Field(exclude=True)] = setting(
        "jupyterhub",
        "What this file deploys. This page is about `jupyterhub`; `services`, and what packages of others bring, have "
        "settings of their own.",
        "jupyterhub",
    )
    hub: HubName = setting(
        ..., "Name of the hub: project, instance and tenant joined by dots, or one word.", "physics101"
    )
    engine: Engine = setting(
        "local",
        "How user servers run: `local`, as processes of this machine; `docker`, as containers; `swarm`, as containers "
        "on several machines.",
        "docker",
    )
    machines: dict[Key, MachineSettings] = setting(
        {},
        "Machines that are reached over SSH: one for all, or several with roles. None: this machine.",
        {"hub1": {"ssh": "ubuntu@203.0.113.10"}},
        {
            "hub1": {"ssh": "ubuntu@10.0.0.10", "private_ip": "10.0.0.10", "roles": ["hub"]},
            "front": {"ssh": "ubuntu@203.0.113.5", "roles": ["edge"]},
        },
    )
    base_image: Image = setting(
        "debian:12-slim",
        "Debian image that the hub's own image is built on (engines docker and swarm).",
        "debian:12.11-slim",
    )
    hub_image: Image | None = setting(
        None,
        "Image that hub, proxy and launcher are built on instead (engines docker and swarm), such as one with your "
        "site's own programs; it needs Python 3.10 or newer, or `apt-get`. JupyterHub itself is hubfleet's.",
        "quay.io/jupyterhub/jupyterhub:5.4.0",
    )
    network: SiteNetwork = setting(SiteNetwork(), "How machines reach the rest of the world.", {"ca_bundle": "ca.crt"})
    domain: Domain | None = setting(
        None,
        "The name in the hub's address, without `https://` (or, with `self-signed`, an IP address).",
        "hub.example.edu",
    )
    https: HttpsSetting | None = setting(
        None,
        "How pages are encrypted: `auto` asks a public authority for a certificate and is the default with a domain; "
        "`self-signed`, which browsers warn of; `secrets`, a certificate and its key that are the secrets "
        "`https_certificate` and `https_key`; `off`, the default without a domain; or a map.",
        "self-signed",
        {"certificate": "hub.pem", "key": "hub.key"},
        {"acme": "https://ca.example.edu/acme/acme/directory", "ca_bundle": "our-ca.pem"},
    )
    listen: Listen = setting(
        Listen(), "Where the hub answers without HTTPS. With it: ports 443 and 80 of every address.", {"port": 8080}
    )
    login: Login = setting(Login(password="file"), "How users prove who they are.", {"password": "file"})
    servers: Servers = setting(Servers(), "The servers of all users.", {"memory": {"limit": "1G"}})
    storage: Storage = setting(Storage(), "What servers find on disk.", {"homes": "none"})
    groups: dict[Key, Group] = setting(
        {}, "Groups of users; a later one wins over an earlier one.", {"staff": {"members": ["ta1"]}}
    )
    users: dict[UserName, User] = setting(
        {}, "What differs for single users.", {"ta1": {"servers": {"cpu": {"limit": 4}}}}
    )

    _provenance: Provenance = PrivateAttr(default_factory=Provenance)

    @property
    def file(self) -> Path | None:
        """The file this was read from, or None."""
        return self._provenance.file

    def where(self, path: str) -> str | None:
        """The line of "servers.memory.limit" or of what is around it, "hubfleet.yaml:12", or None."""
        return self._provenance.where(tuple(path.split(".")))

    def line(self, path: str) -> str:
        """The same as the start of a sentence: "hubfleet.yaml:12: ", or "" without a file."""
        where = self.where(path)
        return f"{where}: " if where else ""

    @property
    def https_kind(self) -> Kind:
        """Where the certificate comes from, with the default put in; "off": there is none."""
        if self.https is None:
            return "auto" if self.domain else "off"
        if not isinstance(self.https, Https):
            return "certificate" if self.https == "secrets" else self.https
        if self.https.certificate:
            return "certificate"
        return "authority" if self.https.acme else "auto"

    @property
    def https_secrets(self) -> tuple[str, ...]:
        """The names of the secrets that are the certificate and its key, in this order; none where they are not."""
        return SECRETS if self.https == "secrets" else ()

    @property
    def hub_machine(self) -> str | None:
        """The name of the machine that has the hub; None: it is the one hubfleet runs on."""
        found = (name for name, machine in self.machines.items() if not machine.roles or "hub" in machine.roles)
        return next(found, None)

    @property
    def edge_machine(self) -> str | None:
        """The name of the machine that people come in by: the hub's unless another one has the role."""
        return next((name for name, machine in self.machines.items() if "edge" in machine.roles), self.hub_machine)

    @property
    def edge_apart(self) -> bool:
        """Whether people come in by another machine than the hub's."""
        return self.edge_machine != self.hub_machine

    @property
    def worker_machines(self) -> tuple[str, ...]:
        """The names of the machines that have users' servers; with engine swarm any number, in the file's order."""
        return tuple(name for name, one in self.machines.items() if not one.roles or "worker" in one.roles)

    @property
    def storage_machine(self) -> str | None:
        """The name of the machine that has the homes: the hub's unless another one has the role."""
        return next((name for name, one in self.machines.items() if "storage" in one.roles), self.hub_machine)

    @property
    def homes_apart(self) -> bool:
        """Whether there are homes, and another machine than the hub's has them."""
        return self.storage.homes is not None and self.storage_machine != self.hub_machine

    @property
    def swarm_machines(self) -> tuple[str, ...]:
        """The names of the machines that engine swarm has to bring together."""
        storage = [str(self.storage_machine)] if self.homes_apart else []
        return tuple(dict.fromkeys([str(self.hub_machine), *self.worker_machines, *storage]))

    def homes(self, usual: Path) -> Path | None:
        """Where homes are kept, `usual` unless the file names a place; None when they are not."""
        homes = self.storage.homes
        return None if homes is None else homes.path or usual

    def server_images(self) -> tuple[str, ...]:
        """What servers' images are built on: everybody's first, then those of profiles, groups and users."""
        usual = self.servers.image or self.base_image
        own = (options.image for options in self.all_options().values() if options.image)
        return tuple(dict.fromkeys([usual, *own]))

    def all_options(self) -> dict[str, ServerOptions]:
        """The options of all servers, and those of each profile, group and user, by path."""
        profiles = {f"servers.profiles.{key}": profile for key, profile in self.servers.profiles.items()}
        return {"servers": self.servers, **profiles, **{f"{at}.servers": part.servers for at, part in self._parts()}}

    def all_mounts(self) -> dict[str, tuple[Mount, ...]]:
        """Everybody's mounts, and those of each group and user, by path."""
        parts = {f"{at}.storage.mounts": part.storage.mounts or () for at, part in self._parts()}
        return {"storage.mounts": self.storage.mounts, **parts}

    def all_quotas(self) -> dict[str, Bytes]:
        """The limits of homes, by path: everybody's, and those of groups and users. None where homes are not kept."""
        if self.storage.homes is None:
            return {}
        usual = self.storage.homes.quota
        parts = {f"{at}.storage.quota": part.storage.quota for at, part in self._parts()}
        return {at: quota for at, quota in {"storage.homes.quota": usual, **parts}.items() if quota is not None}

    def _parts(self) -> list[tuple[str, User]]:
        groups = [(f"groups.{name}", group) for name, group in self.groups.items()]
        return [*groups, *((f"users.{name}", user) for name, user in self.users.items())]

    def dump(self) -> dict[str, Any]:
        """The configuration as JSON-able data, deterministic and without secrets; `from_dump` builds it back.

        `order` keeps the order of groups and profiles, which has a meaning, through writers that sort keys.
        """
        data = self.model_dump(mode="json")
        return {**data, "order": {"groups": list(self.groups), "profiles": list(self.servers.profiles)}}

    @classmethod
    def from_dump(cls, data: dict[str, Any]) -> Config:
        """The configuration of a dump, without the lines it came from. Raises pydantic's ValidationError."""
        rest = {key: value for key, value in data.items() if key != "order"}
        order = data.get("order", {})
        rest["groups"] = _sorted(rest.get("groups", {}), order.get("groups", []))
        servers = rest.get("servers", {})
        rest["servers"] = {**servers, "profiles": _sorted(servers.get("profiles", {}), order.get("profiles", []))}
        return cls.model_validate(rest)


def _sorted(items: dict[str, Any], order: list[str]) -> dict[str, Any]:
    return {key: items[key] for key in order if key in items} | items
