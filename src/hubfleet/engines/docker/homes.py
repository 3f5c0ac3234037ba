"""The keeper of homes as a container of its own, on the machine that has them. Pure.

It sees the homes and may give files away, and has neither the engine's socket nor a network beside the launcher's line.
So the launcher, which may ask the engine, has no rights on homes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hubfleet.config import Config
from hubfleet.config.fleet import addresses
from hubfleet.engines.base import Site
from hubfleet.engines.docker import parts
from hubfleet.engines.docker.common import PATH, PYTHON, alive, as_json, confined, reading, shown
from hubfleet.engines.docker.skeleton import folder as skeletons
from hubfleet.engines.settings import keeping
from hubfleet.homes import HOMES_MARKER, PORT
from hubfleet.layout import Layout
from hubfleet.link import Link
from hubfleet.resources import Container, Directory, File, Image, Skeleton

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER")
"""To make homes for their owners, and to read and move them."""
COUNTING = "SYS_ADMIN"
"""The capability to set how much a home may hold."""
_DEVICES = f"{parts.HOST}/dev"


def line(config: Config, layout: Layout) -> dict[str, Any] | None:
    """Where the launcher asks for homes, as `homes.client.homes_of` takes it; None where they are not kept."""
    if config.storage.homes is None:
        return None
    if not config.homes_apart:
        return {"socket": str(layout.keeper_socket)}
    own = launcher_dir(layout)
    address = {"address": addresses(config.hub, config.network.fleet).storage, "port": PORT}
    return {**address, **{name: str(own / f"{name}.pem") for name in ("certificate", "key", "keeper")}}


def directories(config: Config, layout: Layout) -> Iterator[Directory]:
    """Those of the machine that has the homes."""
    homes, root = config.homes(layout.homes), "root"
    if homes is not None:
        yield Directory(str(homes), root, root, 0o711)
        yield Directory(str(layout.keeper_dir), root, root, 0o700)
        yield Directory(str(layout.keeper_socket.parent), root, root, 0o700)


def files(config: Config, site: Site, skeleton: Skeleton | None) -> dict[str, File]:
    """Those of that machine, by short name."""
    layout, homes = site.layout, config.homes(site.layout.homes)
    if homes is None:
        return {}
    given: dict[str, Any] = {"socket": str(layout.keeper_socket), "line": None}
    made = {}
    if config.homes_apart:
        folder, link = layout.keeper_dir, _link(site)
        own = {"certificate": link.gate_certificate, "key": link.gate_key, "launcher": link.edge_certificate}
        made = {f"keeper_{name}": _secret(folder / f"{name}.pem", content) for name, content in own.items()}
        address = {"address": addresses(config.hub, config.network.fleet).storage, "port": PORT}
        given["line"] = {**address, **{name: str(folder / f"{name}.pem") for name in own}}
    told = {**keeping(config, layout, Path(skeleton.path) if skeleton else None), **given}
    told |= {"devices": _DEVICES} if "counted" in told else {}
    place = str(layout.keeper_dir / "keeper.json")
    return {
        **made,
        "keeper": File(place, as_json(told), "root", "root", 0o644, returns=True),
        "homes": File(str(homes / HOMES_MARKER), f"Homes of hub {config.hub}.\n", "root", "root"),
    }


def launcher_dir(layout: Layout) -> Path:
    """What the launcher shows a keeper of homes on another machine, and the certificate that this must have."""
    return layout.launcher_dir / "homes"


def launcher_files(config: Config, site: Site) -> dict[str, File]:
    """What the launcher has of that line, by short name, and where both ends' keys are kept."""
    if not config.homes_apart:
        return {}
    layout, link = site.layout, _link(site)
    own = {"certificate": link.edge_certificate, "key": link.edge_key, "keeper": link.gate_certificate}
    made = {f"line_{name}": _secret(launcher_dir(layout) / f"{name}.pem", text) for name, text in own.items()}
    kept = File(str(layout.secrets_dir / "homes.json"), link.to_json(), "root", "root", 0o600, secret=True)
    return {"homes_link": kept, **made}


def container(
    config: Config, site: Site, image: Image, given: Mapping[str, File], networks: Mapping[str, Any], name: str = ""
) -> Container:
    """``networks``: of a `Container`. ``name``: of the image, where it came by a registry."""
    layout, homes = site.layout, config.homes(site.layout.homes)
    assert homes is not None, "somebody keeps them"
    begin = (skeletons(layout),) if config.storage.homes and config.storage.homes.skeleton else ()
    common = {**confined(image), **({"image": name} if name else {})}
    counted = "counted" in keeping(config, layout, None)
    return Container(
        name=parts.container(layout.hub, "homes"),
        argv=(PYTHON, "-m", "hubfleet.homes.daemon", given["keeper"].path),
        environment={"PATH": PATH, "LANG": "C.UTF-8"},
        **reading(given, *(one for one in given if one == "keeper" or one.startswith("keeper_"))),
        mounts=(
            *shown(homes, mode="rw"),
            *shown(layout.keeper_dir, *begin),
            *shown(layout.keeper_socket.parent, mode="rw"),
            # Only for its name does an engine's older kernel ask: no device can be opened there.
            *((("/dev", _DEVICES, "ro"),) if counted else ()),
        ),
        **networks,
        capabilities=(*CAPABILITIES, COUNTING) if counted else CAPABILITIES,
        **alive(layout.keeper_socket),
        impact="nobody can start a server for a few seconds; running servers go on",
        **common,
    )


def _link(site: Site) -> Link:
    if site.homes is None:
        raise ValueError("homes on another machine than the hub, and no link to it")
    return site.homes


def _secret(path: Path, content: str) -> File:
    # The certificates too: what a rollback finds of these is what is there now, as it is with keys. They go together.
    return File(str(path), content, "root", "root", 0o600, secret=True, returns=True)
