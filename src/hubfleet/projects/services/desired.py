"""What project `services` wants on each machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hubfleet.layout import Layout
from hubfleet.projects.base import Site
from hubfleet.projects.services.images import image_of
from hubfleet.projects.services.model import Service, ServicesConfig
from hubfleet.resources import Account, Container, Directory, DockerEngine, File, Image, Network, Resource

SECRETS = "/run/secrets"
"""Where a service finds its secrets."""
_TMP_BYTES = 64 * 1024**2


def container(deployment: str, service: str) -> str:
    """The name of a service's container: an underscore is in no name of a deployment, nor of a service."""
    return f"hubfleet-{deployment}_{service}"


def network(deployment: str) -> str:
    """The network of a deployment's services on a machine."""
    return f"hubfleet-{deployment}_services"


def account(deployment: str) -> str:
    """The account that services run as: a name of at most 32 characters."""
    plain = re.fullmatch(r"[a-z0-9-]{1,18}", deployment) is not None
    digest = hashlib.sha256(deployment.encode()).hexdigest()[:8]
    word = deployment if plain else f"{re.sub(r'[^a-z0-9]', '-', deployment)[:9]}-{digest}"
    return f"hubservice-{word}"


def volumes(layout: Layout) -> Path:
    """Where services' data is."""
    return layout.state / "volumes"


def desired(config: ServicesConfig, site: Site) -> dict[str, tuple[Resource, ...]]:
    """By machine, what should be there. Raises CheckError for an image that cannot be built."""
    return {machine: tuple(_machine(config, site, machine)) for machine in config.places}


def _machine(config: ServicesConfig, site: Site, machine: str) -> list[Resource]:
    names = [name for name in config.ordered() if config.machine_of(name) == machine]
    if not names:
        return []
    own, net = account(config.name), network(config.name)
    bridge = f"hf-{hashlib.sha256(net.encode()).hexdigest()[:10]}"
    images = {name: image_of(config.name, name, config.services[name], site) for name in names}
    secrets = {name: _secrets(site, name, config.services[name], own) for name in names}
    wanted: list[Resource] = [
        DockerEngine(),
        Account(own, f"services of {config.name}"),
        *({image.id: image for image in images.values()}.values()),
        Network(net, bridge=bridge),
        *_directories(config, site.layout, names, own),
    ]
    for name in names:
        # Each with its secrets: an earlier one that is put back gets back what it was started with.
        wanted += secrets[name]
        wanted.append(_container(config, site.layout, name, images[name], secrets[name], own))
    return wanted


def _owner(service: Service, own: str) -> str:
    return "root" if service.user == "root" else own


def _directories(config: ServicesConfig, layout: Layout, names: Sequence[str], own: str) -> Iterator[Directory]:
    with_secrets = [name for name in names if config.services[name].secrets]
    if with_secrets:
        yield Directory(str(layout.secrets_dir), "root", "root", 0o711)
    for name in with_secrets:
        owner = _owner(config.services[name], own)
        yield Directory(str(_secret_dir(layout, name)), owner, owner, 0o500)
    owners: dict[str, str] = {}
    for name in names:
        for volume in config.services[name].volumes:
            owners[volume] = own if owners.get(volume) == own else _owner(config.services[name], own)
    if owners:
        yield Directory(str(volumes(layout)), "root", "root", 0o711)
    yield from (Directory(str(volumes(layout) / volume), owner, owner, 0o700) for volume, owner in owners.items())


def _secret_dir(layout: Layout, service: str) -> Path:
    return layout.secrets_dir / service


def _secrets(site: Site, name: str, service: Service, own: str) -> list[File]:
    owner, folder = _owner(service, own), _secret_dir(site.layout, name)
    return [
        File(str(folder / secret), site.secrets[secret], owner, owner, 0o400, secret=True, returns=True)
        for secret in service.secrets
    ]


def _container(
    config: ServicesConfig, layout: Layout, name: str, image: Image, secrets: Sequence[File], own: str
) -> Container:
    service = config.services[name]
    mounts = [(str(volumes(layout) / volume), path, "rw") for volume, path in service.volumes.items()]
    if secrets:
        mounts.append((str(_secret_dir(layout, name)), SECRETS, "ro"))
    return Container(
        name=container(config.name, name),
        image=image.tag,
        argv=service.command,
        environment=dict(service.environment),
        depends=tuple(file.sha256 for file in secrets),
        reads=tuple(file.path for file in secrets),
        user="" if service.user == "root" else own,
        mounts=tuple(mounts),
        tmpfs=tuple((path, _TMP_BYTES) for path in ("/tmp", *service.tmpfs)),
        network=network(config.name),
        hostname=name,
        ports=tuple((port.address, port.port, port.inner) for port in service.ports),
        capabilities=service.capabilities,
        read_only=not service.writable,
        memory=int(service.memory or 0),
        processes=service.processes,
        health=service.health,
        impact=f"{name} does not answer for a few seconds; the other services go on",
    )
