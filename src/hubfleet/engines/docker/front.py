"""What people come in by: the edge, on the hub's machine or on one of its own, and then a gate on the hub's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from hubfleet.config import Config
from hubfleet.config.https import Https
from hubfleet.engines.accounts import Accounts
from hubfleet.engines.base import Site
from hubfleet.engines.docker import edge, parts
from hubfleet.engines.docker.common import PATH, confined, reading, shown
from hubfleet.layout import Layout
from hubfleet.link import Link
from hubfleet.resources import Account, Container, Directory, DockerEngine, File, Image, Network, Resource

_FILES = {"certificate": "certificate.pem", "key": "key.pem", "ca_bundle": "authority.pem"}
_IMPACT = "open pages reconnect after a few seconds; running servers go on"


def directories(config: Config, layout: Layout, who: Accounts) -> Iterator[Directory]:
    """Of the part that is on the hub's machine."""
    folders = (parts.edge_dir(layout), parts.edge_socket(layout).parent)
    if config.edge_apart:
        folders = (parts.gate_dir(layout), parts.gate_socket(layout).parent)
    yield from (Directory(str(folder), who.edge, who.edge, 0o700) for folder in folders)


def files(config: Config, site: Site, who: Accounts) -> dict[str, File]:
    """Those that the part on the hub's machine reads at start, by short name, and where both ends' keys are kept."""
    if not config.edge_apart:
        return edge_files(config, site, who)
    layout, folder = site.layout, parts.gate_dir(site.layout)
    text = edge.gate_json(str(parts.entrance(layout)), str(folder), parts.GATE, str(parts.gate_socket(layout))) + "\n"
    return {
        "link": File(str(layout.secrets_dir / "link.json"), _link(site).to_json(), "root", "root", 0o600, secret=True),
        **_gate_secrets(site, who),
        "gate": File(str(folder / "caddy.json"), text, who.edge, who.edge, 0o644, returns=True),
    }


def edge_files(config: Config, site: Site, who: Accounts) -> dict[str, File]:
    """The edge's configuration, and what the operator has given it: a certificate, its key, an authority's own."""
    layout, https = site.layout, config.https
    folder = parts.edge_dir(layout)
    given: dict[str, str] = {key: site.service_secrets.get(name, "") for key, name in _secrets(config).items()}
    if isinstance(https, Https):
        given = {key: path.read_text() for key, path in vars(https).items() if key in _FILES and path}
    paths = {key: str(folder / _FILES[key]) for key in given}
    places = edge.Places(
        entrance=str(parts.entrance(layout)),
        gate=f"{site.hub_address}:{parts.gate_port(config)}" if config.edge_apart else "",
        link=str(parts.link_dir(layout)) if config.edge_apart else "",
        storage=str(folder / "storage"),
        http_port=parts.EDGE_HTTP,
        https_port=parts.EDGE_HTTPS,
        names=parts.names(config),
        alive=str(parts.edge_socket(layout)),
        certificate=paths.get("certificate", ""),
        key=paths.get("key", ""),
        ca_bundle=paths.get("ca_bundle", ""),
    )
    made = {
        f"edge_{key}": File(path, given[key], who.edge, who.edge, 0o600, key == "key", returns=True)
        for key, path in paths.items()
    }
    if config.edge_apart:
        made |= _edge_secrets(site, who)
    text = edge.caddy_json(config, places) + "\n"
    return {**made, "edge": File(str(folder / "caddy.json"), text, who.edge, who.edge, 0o644, returns=True)}


def _secrets(config: Config) -> dict[str, str]:
    """The secrets that a certificate of the operator's own is in."""
    return dict(zip(("certificate", "key"), config.https_secrets, strict=False))


def link_files(config: Config, site: Site, who: Accounts) -> dict[str, tuple[Resource, ...]]:
    """By machine, the secret files by which one knows the other."""
    if not config.edge_apart:
        return {}
    here = (files(config, site, who)["link"], *_gate_secrets(site, who).values())
    return {str(config.hub_machine): here, str(config.edge_machine): tuple(_edge_secrets(site, who).values())}


def container(config: Config, site: Site, who: Accounts, image: Image, given: dict[str, File]) -> Container:
    """The part on the hub's machine: the edge, or the gate for one on another."""
    if not config.edge_apart:
        return edge_container(config, site, who, image, given)
    layout = site.layout
    return Container(
        name=parts.container(layout.hub, "gate"),
        argv=edge.command(given["gate"].path),
        environment={"HOME": str(parts.gate_dir(layout)), "PATH": PATH},
        **reading(given, *_named(given, "gate")),
        user=who.edge,
        mounts=(
            *shown(parts.entrance(layout).parent),
            *shown(parts.gate_dir(layout), parts.gate_socket(layout).parent, mode="rw"),
        ),
        network=parts.way_out(config.hub),
        ports=(parts.gate_published(config),),
        stop_signal=edge.STOP_SIGNAL,
        ready=str(parts.gate_socket(layout)),
        health=edge.health(str(parts.gate_socket(layout))),
        impact=_IMPACT,
        **confined(image),
    )


def edge_container(config: Config, site: Site, who: Accounts, image: Image, given: dict[str, File]) -> Container:
    """The edge, on whichever machine."""
    layout = site.layout
    inner = () if config.edge_apart else shown(parts.entrance(layout).parent)
    return Container(
        name=parts.container(layout.hub, "edge"),
        argv=edge.command(given["edge"].path),
        environment={"HOME": str(parts.edge_dir(layout)), "PATH": PATH},
        **reading(given, *_named(given, "edge")),
        user=who.edge,
        mounts=(*inner, *shown(parts.edge_dir(layout), parts.edge_socket(layout).parent, mode="rw")),
        network=parts.way_out(config.hub),
        ports=parts.published(config),
        stop_signal=edge.STOP_SIGNAL,
        ready=str(parts.edge_socket(layout)),
        health=edge.health(str(parts.edge_socket(layout))),
        impact=_IMPACT,
        **confined(image),
    )


def alone(
    config: Config, site: Site, who: Accounts, image: Image, *, live_restore: bool = True
) -> tuple[Resource, ...]:
    """All of a machine that has the edge and nothing else."""
    layout, root = site.layout, "root"
    out = parts.way_out(config.hub)
    given = edge_files(config, site, who)
    return (
        DockerEngine(live_restore=live_restore),
        image,
        Account(who.edge, f"edge of hub {config.hub}"),
        Directory(str(layout.base), root, root, 0o755),
        Directory(str(layout.state), root, root, 0o711),
        File(str(layout.called), f"{config.edge_machine}\n", root, root),
        Directory(str(layout.run), root, root, 0o711),
        *(
            Directory(str(folder), who.edge, who.edge, 0o700)
            for folder in (parts.edge_dir(layout), parts.link_dir(layout), parts.edge_socket(layout).parent)
        ),
        Network(out, bridge=parts.bridge(out)),
        *given.values(),
        edge_container(config, site, who, image, given),
    )


def _named(given: Iterable[str], part: str) -> list[str]:
    return [name for name in given if name == part or name.startswith(f"{part}_")]


def _link(site: Site) -> Link:
    if site.link is None:
        raise ValueError("an edge on a machine of its own, and no link to the hub's")
    return site.link


def _gate_secrets(site: Site, who: Accounts) -> dict[str, File]:
    link, folder = _link(site), parts.gate_dir(site.layout)
    given = {"certificate.pem": link.gate_certificate, "key.pem": link.gate_key, "edge.pem": link.edge_certificate}
    return {f"gate_{name}": _secret(folder / name, content, who) for name, content in given.items()}


def _edge_secrets(site: Site, who: Accounts) -> dict[str, File]:
    link, folder = _link(site), parts.link_dir(site.layout)
    given = {"certificate.pem": link.edge_certificate, "key.pem": link.edge_key, "gate.pem": link.gate_certificate}
    return {f"edge_link_{name}": _secret(folder / name, content, who) for name, content in given.items()}


def _secret(path: Path, content: str, who: Accounts) -> File:
    # The certificates too: what a rollback finds of these is what is there now, as it is with keys. They go together.
    return File(str(path), content, who.edge, who.edge, 0o600, secret=True, returns=True)
