"""How images come from the hub's machine, where they are built, to the others: by a registry. Pure.

Unless one is given, the hub's machine runs one for the others. Only they may ask it anything: each end shows the other
a certificate that was made for it. One that is given is known by the site's authorities, where it has some, and knows
the machines as root has logged in there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hubfleet.config import Config
from hubfleet.engines.accounts import Accounts
from hubfleet.engines.base import Site
from hubfleet.engines.docker import parts
from hubfleet.engines.docker.common import PATH, confined, reading, shown
from hubfleet.engines.docker.images import registry_image
from hubfleet.layout import Layout
from hubfleet.link import Link
from hubfleet.resources import Container, Directory, File, Image, ImageGiven, ImageTaken, Resource

PORT = 5000
"""Where the registry listens in its container."""
TRUST = Path("/etc/docker/certs.d")
"""Where an engine looks for a registry's certificates, in a directory of the registry's name."""
PROGRAM = "/usr/bin/docker-registry"


def own(config: Config) -> bool:
    """Whether the hub's machine runs one."""
    return config.network.fleet.registry is None


def name(config: Config, site: Site) -> str:
    """What the names of images begin with, up to the first slash after it."""
    return config.network.fleet.registry or f"{site.hub_address}:{config.network.fleet.registry_port}"


def reference(config: Config, site: Site, image: Image) -> str:
    """An image's name in the registry, which says what is in it."""
    return f"{name(config, site)}/{image.tag}"


def given(config: Config, site: Site, *images: Image) -> tuple[ImageGiven, ...]:
    """The images that the registry should have."""
    return tuple(ImageGiven(reference(config, site, image), image.tag) for image in images)


def taken(config: Config, site: Site, *images: Image) -> tuple[ImageTaken, ...]:
    """The images that another machine should have from it."""
    return tuple(ImageTaken(reference(config, site, image)) for image in images)


def trust(config: Config, site: Site) -> Iterator[Resource]:
    """By what an engine knows the registry, and is known to it."""
    bundle = config.network.ca_bundle
    if not own(config) and bundle is None:
        return
    folder = TRUST / name(config, site).partition("/")[0]
    for path in (TRUST.parent, TRUST, folder):
        yield Directory(str(path), "root", "root", 0o755)
    if not own(config):
        # Of this hub: somebody else may have put there what they trust, and another hub its own.
        told = bundle.read_text() if bundle else ""
        yield File(str(folder / f"hubfleet-{config.hub}.crt"), told, "root", "root", 0o644)
        return
    link = _link(site)
    yield _secret(folder / "ca.crt", link.gate_certificate, "root")
    yield _secret(folder / "client.cert", link.edge_certificate, "root")
    yield _secret(folder / "client.key", link.edge_key, "root")


def registry(config: Config, site: Site, who: Accounts) -> Iterator[Resource]:
    """The registry itself, in the order in which it is made."""
    if not own(config):
        return
    layout, image = site.layout, registry_image(config)
    folder, link = _folder(layout), _link(site)
    files = {
        "kept": File(str(layout.secrets_dir / "registry.json"), link.to_json(), "root", "root", 0o600, secret=True),
        "certificate": _secret(folder / "certificate.pem", link.gate_certificate, who.edge),
        "key": _secret(folder / "key.pem", link.gate_key, who.edge),
        "machines": _secret(folder / "machines.pem", link.edge_certificate, who.edge),
        "settings": File(str(folder / "config.yml"), _settings(folder), who.edge, who.edge, 0o644),
    }
    yield image
    for path in (folder, folder / "images"):
        yield Directory(str(path), who.edge, who.edge, 0o700)
    yield from files.values()
    yield Container(
        name=container(layout.hub),
        argv=(PROGRAM, "serve", files["settings"].path),
        environment={"PATH": PATH},
        **reading(files, "certificate", "key", "machines", "settings"),
        user=who.edge,
        mounts=(*shown(folder), *shown(folder / "images", mode="rw")),
        network=parts.way_out(config.hub),
        ports=((site.hub_address, config.network.fleet.registry_port, PORT),),
        noticed=False,
        **confined(image),
    )


def container(hub: str) -> str:
    """The name of the registry's container."""
    return parts.container(hub, "registry")


def _folder(layout: Layout) -> Path:
    return layout.state / "registry"


def _settings(folder: Path) -> str:
    settings: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}, "delete": {"enabled": True}},
        "http": {
            "addr": f":{PORT}",
            "tls": {
                "certificate": str(folder / "certificate.pem"),
                "key": str(folder / "key.pem"),
                "clientcas": [str(folder / "machines.pem")],
            },
        },
    }
    return json.dumps(settings, indent=1, sort_keys=True) + "\n"


def _link(site: Site) -> Link:
    if site.registry is None:
        raise ValueError("a registry for the machines, and no certificates for it")
    return site.registry


def _secret(path: Path, content: str, owner: str) -> File:
    # The certificates too: what a rollback finds of these is what is there now, as it is with keys. They go together.
    return File(str(path), content, owner, owner, 0o600, secret=True)
