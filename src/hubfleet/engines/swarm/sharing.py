"""How servers on any machine come to their homes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from hubfleet.config import Config
from hubfleet.engines.base import Site
from hubfleet.engines.disks import disks
from hubfleet.names import system_name
from hubfleet.resources.export import PORT, Export

OPTIONS = "vers=4.2,proto=tcp,hard,timeo=50,retrans=2,nosuid,nodev"
"""Of each machine that mounts a home.

hard: what waits for a storage that is away goes on when it is back, and nothing that was written is lost.
timeo, retrans: tenths of a second, and how often: a mount, and only that, gives up after a quarter of a minute.
nosuid, nodev: what one machine's root may leave in a home gives nobody rights on another.
"""


def by_nfs(config: Config) -> bool:
    """Whether homes are exported by the machine that has them."""
    homes = config.storage.homes
    return homes is not None and homes.share == "nfs"


def clients(config: Config, site: Site) -> tuple[str, ...]:
    """The addresses of the machines that mount homes."""
    return tuple(site.addresses[name] for name in config.worker_machines)


def export(config: Config, site: Site, machine: str) -> Iterator[Export]:
    """What a machine lets the others have; nothing unless it has the homes."""
    place = config.homes(site.layout.homes)
    if by_nfs(config) and place is not None and machine == config.storage_machine:
        yield Export(config.hub, str(place), clients(config, site), mounted=bool(disks(config, site.layout)))


def closed(config: Config) -> tuple[int, ...]:
    """Ports that servers must reach nowhere: the storage may have further addresses than those that are known, and
    would take a program on a machine that mounts homes for that machine, which may say whose files it asks for."""
    return (PORT,) if by_nfs(config) else ()


def homes(config: Config, site: Site) -> dict[str, str]:
    """The same for the launcher's engine, see `specification.HomesPlace`."""
    place = config.homes(site.layout.homes)
    if place is None:
        return {"kind": "none"}
    if by_nfs(config):
        server = site.addresses[str(config.storage_machine)]
        return {"kind": "nfs", "path": str(place), "server": server, "options": OPTIONS}
    return {"kind": "mounted", "path": str(place)}


def problems(config: Config, site: Site) -> Iterator[str]:
    """Why homes cannot be shared as the file says; nothing where they can."""
    shared, storage = config.storage.homes, str(config.storage_machine)
    workers = config.worker_machines
    if shared is None:
        return
    if not shared.share and set(workers) != {config.storage_machine}:
        yield (
            f"{config.line('storage.homes')}homes have to be seen by {', '.join(workers)}. Try: storage: "
            "{homes: {share: nfs}} to have them exported by the machine that has them; or {path: /srv/homes, share: "
            "mounted} with a file system that all have there; or homes: none"
        )
    if not by_nfs(config):
        return
    if storage in workers:
        what = f"{storage} has the homes and users' servers, and a machine that mounts its own disk by NFS can stand"
        remedy = f"role storage for a machine without role worker, or no role worker for {storage}"
        yield f"{config.line(f'machines.{storage}')}{what} still when memory is short. Try: {remedy}"
    yield from _inside_homes(config)
    for name in dict.fromkeys((storage, *workers)):
        address = site.addresses.get(name, "")
        setting = f"machines.{name}.private_ip"
        if not is_address(address):
            what = f"{name} is reached at {address or 'no address'}, and homes are exported to IPv4 addresses"
            yield f"{config.line(f'machines.{name}')}{what}. Try: {setting}: its address in the machines' network"
        elif ip_address(address).is_global and config.machines[name].private_ip is None:
            what = f"homes would pass the internet in the clear, since {name} is known by a public address ({address})"
            remedy = f"{setting}: its address in the machines' own network; or {setting}: {address}, if that is one"
            yield f"{config.line(f'machines.{name}')}{what}. Try: {remedy}"


def _inside_homes(config: Config) -> Iterator[str]:
    """What servers would be shown inside their homes. A machine's engine mounts as root, which is nobody on the machine
    that exports them, and comes into no home."""
    why = "would be mounted inside homes, which no machine's root may enter with share: nfs"
    remedy = "storage.homes.share: mounted, with a file system that all machines have"
    if config.storage.projects is not None:
        yield f"{config.line('storage.projects')}projects {why}. Try: no storage.projects; or {remedy}"
    for setting, mounts in config.all_mounts().items():
        part, _, name = setting.removesuffix(".storage.mounts").partition(".")
        homes = ["/home/{username}", *([f"/home/{system_name(name)}"] if part == "users" else [])]
        for mount in mounts:
            if any(f"{mount.container}/".startswith(f"{home}/") for home in homes):
                what = f"{config.line(setting)}{mount.host} {why}"
                yield f"{what}. Try: another place in servers, such as /{Path(mount.container).name}; or {remedy}"


def is_address(text: str) -> bool:
    """Whether it is an IPv4 address. Where no private one is given it is what `ssh` is told, perhaps a name."""
    try:
        return ip_address(text).version == 4
    except ValueError:
        return False


def marker(config: Config, site: Site) -> Path | None:
    """The directory that all machines see, where a file tells them that it is the same; None where each has its own
    mounts of single homes, or there is one machine only."""
    if by_nfs(config) or set(config.worker_machines) == {config.storage_machine}:
        return None
    return config.homes(site.layout.homes)
