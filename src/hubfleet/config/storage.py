"""The settings of what servers find on disk."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from hubfleet.config.fields import BadValue, DiskSize, PathBeside, Quota
from hubfleet.config.owner import OwnerOptions
from hubfleet.config.paths import HomesPath, HostDirectory, Mount, MountText
from hubfleet.config.projects import Projects
from hubfleet.config.section import Section, setting


def _own_targets(mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    targets = [mount.container for mount in mounts]
    for target in targets:
        if targets.count(target) > 1:
            raise BadValue(f"two mounts at `{target}`", "a place of its own for each")
    return mounts


def _homes_or_none(raw: object) -> object:
    if isinstance(raw, str):
        if raw != "none":
            raise BadValue(f"`{raw}` is not a setting for homes", "homes: {path: /srv/homes}, or homes: none")
        return None
    return raw


Mounts = Annotated[tuple[MountText, ...], AfterValidator(_own_targets)]


class Homes(Section):
    """Home directories."""

    path: HomesPath | None = setting(
        None, "Directory that holds them. Default: inside the hub's state directory.", "/srv/hubfleet/homes"
    )
    share: Literal["mounted", "nfs"] | None = setting(
        None,
        "How every machine comes to see them, with engine swarm on several machines: `mounted`, a file system that is "
        "already at the same place on each; `nfs`, from the machine with role storage, which hubfleet has export them "
        "to the machines with servers and nobody else.",
        "nfs",
    )
    skeleton: PathBeside | None = setting(
        None, "Directory, relative to this file, whose content every new home gets.", "skel"
    )
    quota: Quota | None = setting(
        None,
        "Most that one person's home may hold, unless a group or the person has another `storage.quota`. The directory "
        "has to be on XFS with project quotas, which `disk` makes. Default: no limit.",
        "10G",
    )
    disk: DiskSize | None = setting(
        None,
        "Size of a file beside the directory, with an XFS file system that hubfleet makes and mounts there. It takes "
        "the room that its files need, and grows when this is raised; it is never made smaller.",
        "500G",
    )


class Storage(Section):
    """What servers find on disk."""

    homes: Annotated[
        Homes | None,
        BeforeValidator(_homes_or_none, json_schema_input_type=Homes | Literal["none"]),
        PlainSerializer(lambda homes: "none" if homes is None else homes),
    ] = setting(Homes(), "Home directories, or the word `none`: nothing is kept.", {"skeleton": "skel"}, "none")
    mounts: Mounts = setting(
        (),
        "Host directories in servers, `host:container:ro|rw`. Variables: {username}, {hub}, {tenant_id} (the last part "
        "of the hub's name), {tas_homeDirectory} (as the service tells it that knows the user's id).",
        ["/srv/published:/srv/published:ro", "/work/{tas_homeDirectory}:/home/jupyter/work:rw"],
    )
    must_be_mounted: tuple[HostDirectory, ...] = setting(
        (), "Where the host must have file systems mounted. While one is not, what lies below is refused.", ["/work"]
    )
    owner: OwnerOptions = setting(OwnerOptions(), "Who owns a user's files.", {"range": "200000-209999"})
    projects: Projects | None = setting(
        None, "Directories of projects, for who belongs to them.", {"path": "/corral/projects"}
    )

    @property
    def asks(self) -> bool:
        """Whether the launcher asks services of the site."""
        return self.owner.by_service or bool(self.services)

    @property
    def services(self) -> dict[str, str]:
        """The addresses of services that the launcher asks, by setting."""
        owner, projects = self.owner, self.projects
        found = {
            "storage.owner.tas.url": owner.tas and owner.tas.url,
            "storage.owner.ldap.url": owner.ldap and owner.ldap.url,
            "storage.projects.service": projects and projects.service,
        }
        return {path: address for path, address in found.items() if address}

    @property
    def secrets(self) -> dict[str, str]:
        """The secrets that services are shown, by name, and the setting that needs each; "" where it may be missing."""
        found = {}
        if self.owner.by_service:
            needed = self.owner.tas or (self.owner.ldap and self.owner.ldap.bind)
            found["owner_password"] = f"storage.owner.{self.owner.kind}" if needed else ""
        if self.projects and self.projects.service:
            found["projects_token"] = "storage.projects.service"
        return found


class PartStorage(Section):
    """What a group or a user finds on disk instead."""

    mounts: Mounts | None = setting(None, "Replaces `storage.mounts`.", ["/srv/staff:/srv/staff:rw"])
    quota: Quota | None = setting(None, "Most that a home may hold, in place of `storage.homes.quota`.", "100G")
